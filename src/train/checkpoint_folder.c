#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "checkpoint.h"
#include "new_file.h"

#define PREFIX "step-"
#define SUFFIX ".checkpoint"

void checkpoint_path(char path[CHECKPOINT_PATH_SIZE], const char *folder, uint64_t step)
{
    snprintf(path, CHECKPOINT_PATH_SIZE, "%s/" PREFIX "%09" PRIu64 SUFFIX, folder, step);
}

/* Whether a name is that of a checkpoint, or, with `suffix` behind it, of a draft of one. */
static bool is_named(const char *name, const char *suffix, uint64_t *step)
{
    char rest[40];
    int n = 0;
    snprintf(rest, sizeof rest, SUFFIX "%s", suffix);
    return sscanf(name, PREFIX "%9" SCNu64 "%n", step, &n) == 1 && strcmp(name + n, rest) == 0;
}

static int latest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static quire_status list(uint64_t **steps, size_t *n, const char *folder, const char *suffix, quire_error *err)
{
    uint64_t *found = NULL, step;
    size_t count = 0, capacity = 0;
    quire_status status = QUIRE_OK;
    int fd = sys.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *entries = fd < 0 ? NULL : sys.fdopendir(fd);
    if (!entries && errno != ENOENT)
        status = quire_fail(err, QUIRE_ERR_IO, "cannot list the folder '%s': %s", folder, strerror(errno));
    if (!entries && fd >= 0)
        sys.close(fd);
    errno = 0;
    for (struct dirent *entry; entries && status == QUIRE_OK && (entry = sys.readdir(entries)); errno = 0) {
        if (!is_named(entry->d_name, suffix, &step))
            continue;
        status = mem_reserve(&found, &capacity, count + 1, sizeof *found, "a list of checkpoints", err);
        if (status == QUIRE_OK)
            found[count++] = step;
    }
    if (entries && status == QUIRE_OK && errno != 0)
        status = quire_fail(err, QUIRE_ERR_IO, "cannot list the folder '%s': %s", folder, strerror(errno));
    if (entries)
        closedir(entries);
    if (status != QUIRE_OK) {
        free(found);
        return status;
    }
    if (count > 0)
        qsort(found, count, sizeof *found, latest_first);
    *steps = found;
    *n = count;
    return QUIRE_OK;
}

quire_status checkpoint_list(uint64_t **steps, size_t *n, const char *folder, quire_error *err)
{
    return list(steps, n, folder, "", err);
}

bool checkpoint_is_damaged(const char *folder)
{
    uint64_t *steps;
    size_t n = 0;
    if (list(&steps, &n, folder, CHECKPOINT_DAMAGED, NULL) == QUIRE_OK)
        free(steps);
    return n > 0;
}

static void remove_from(const char *folder, const char *suffix, size_t n_keep)
{
    char path[CHECKPOINT_PATH_SIZE];
    uint64_t *steps;
    size_t n;
    if (list(&steps, &n, folder, suffix, NULL) != QUIRE_OK)
        return;
    for (size_t i = n_keep; i < n; i++) {
        checkpoint_path(path, folder, steps[i]);
        size_t length = strlen(path);
        snprintf(path + length, sizeof path - length, "%s", suffix);
        sys.unlink(path);
    }
    free(steps);
}

void checkpoint_prune(const char *folder, size_t n_keep)
{
    remove_from(folder, "", n_keep);
}

void checkpoint_sweep(const char *folder)
{
    remove_from(folder, NEW_FILE_SUFFIX, 0);
}
