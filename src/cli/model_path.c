#include "model_path.h"

#include <dirent.h>
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
    char pattern[3 * PATH_MAX];
    size_t n = 0;
    glob_t found;
    char *path = NULL;
    for (const char *c = folder; *c && n < 2 * PATH_MAX; c++) { /* for glob every character of it is itself */
        if (strchr("[]*?\\", *c))
            pattern[n++] = '\\';
        pattern[n++] = *c;
    }
    snprintf(pattern + n, sizeof pattern - n, "/%s/*/*.gguf", below);
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

static int is_gguf(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".gguf") == 0;
}

/* What a named path means: itself; or, where it is a folder without a checkpoint, the GGUF in it. */
static quire_status find_named(char **out, const char *given, quire_error *err)
{
    struct dirent **names = NULL;
    char path[2 * PATH_MAX];
    quire_status status = QUIRE_OK;
    snprintf(path, sizeof path, "%s/config.json", given);
    int n = access(path, F_OK) == 0 ? 0 : scandir(given, &names, is_gguf, alphasort);
    if (n == 1)
        snprintf(path, sizeof path, "%s/%s", given, names[0]->d_name);
    if (n > 1)
        status =
            quire_fail(err, QUIRE_ERR_USAGE, "folder '%s' has no config.json and %d GGUF files: name one, such as %s",
                       given, n, names[0]->d_name);
    else
        *out = strdup(n == 1 ? path : given);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    if (status == QUIRE_OK && !*out)
        status = quire_fail(err, QUIRE_ERR_NO_MEMORY, "no memory for a path");
    return status;
}

quire_status model_path_find(char **out, const char *given, quire_error *err)
{
    const char *environment = getenv("QUIRE_MODEL");
    if (!given && environment && *environment)
        given = environment;
    if (given)
        return find_named(out, given, err);
    *out = find_beside_program();
    if (!*out)
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "no model: none was installed with this program; name one with "
                          "-m MODEL or in the environment variable QUIRE_MODEL");
    return QUIRE_OK;
}
