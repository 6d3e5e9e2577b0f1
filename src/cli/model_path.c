#include "model_path.h"

#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From <source>/build/<preset>/src/cli up to <source>. */
enum { MOST_LEVELS_UP = 4 };

/* The first <folder>/<below>/<name>/<file>.gguf, by name. */
static char *find_below(const char *folder, const char *below)
{
    char pattern[2 * PATH_MAX];
    glob_t found;
    char *path = NULL;
    snprintf(pattern, sizeof pattern, "%s/%s/*/*.gguf", folder, below);
    if (glob(pattern, 0, NULL, &found) == 0) {
        path = strdup(found.gl_pathv[0]);
        globfree(&found);
    }
    return path;
}

static bool is_source_tree(const char *folder)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/src/cli/model_path.c", folder);
    return access(path, F_OK) == 0;
}

/* Cuts the last name off a path; false at the root. */
static bool go_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return false;
    *slash = '\0';
    return true;
}

static char *find_beside_program(void)
{
    char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n <= 0)
        return NULL;
    folder[n] = '\0';
    if (!go_up(folder)) /* the program's own name */
        return NULL;

    char *path = NULL;
    for (int level = 0; level <= MOST_LEVELS_UP && !path; level++) {
        if (level == 1) /* <prefix>/bin/quire */
            path = find_below(folder, "share/quire/models");
        if (!path && is_source_tree(folder))
            path = find_below(folder, "models");
        if (!path && !go_up(folder))
            break;
    }
    return path;
}

quire_status model_path_find(char **out, const char *given, quire_error *err)
{
    const char *environment = getenv("QUIRE_MODEL");
    if (!given && environment && *environment)
        given = environment;
    char *path = given ? strdup(given) : find_beside_program();
    if (!path)
        return given ? quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for a path")
                     : quire_fail(err, QUIRE_ERR_USAGE,
                                  "no model: none was installed with this program; name one with "
                                  "-m MODEL or in the environment variable QUIRE_MODEL");
    *out = path;
    return QUIRE_OK;
}
