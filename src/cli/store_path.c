#include "store_path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

quire_status store_path_find(char **path, const char *named, quire_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char text[PATH_MAX];
    int n = 0;
    *path = NULL;
    if (named)
        n = snprintf(text, sizeof text, "%s", named);
    else if (cache && cache[0] == '/') /* a relative one is to be ignored */
        n = snprintf(text, sizeof text, "%s/quire", cache);
    else if (home && home[0] == '/')
        n = snprintf(text, sizeof text, "%s/.cache/quire", home);
    else
        return QUIRE_OK;
    if (n < 0 || (size_t)n >= sizeof text)
        return quire_fail(err, QUIRE_ERR_USAGE, "the store's path is too long");
    *path = strdup(text);
    return *path ? QUIRE_OK : quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for the store's path");
}

quire_status store_limit_find(uint64_t *n_bytes, const struct options *o, quire_error *err)
{
    const char *text = getenv("QUIRE_STORE_LIMIT");
    double limit = (double)o->store_limit_bytes;
    if (limit == 0 && text && *text && (!options_read_size(text, &limit) || limit < 1 || limit > 0x1p62))
        return quire_fail(err, QUIRE_ERR_USAGE, "QUIRE_STORE_LIMIT: '%s' is not a size such as 800M or 50G", text);
    *n_bytes = (uint64_t)limit;
    return QUIRE_OK;
}
