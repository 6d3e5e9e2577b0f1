#include "fresh.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "folder.h"

#define TEMPORARY_NAME "%ld-%d.tmp" /* process and number */

enum { MAX_NAME_TRIES = 100 };

/* "folder/name", or "path" with words behind it; NULL: no memory. */
static QUIRE_PRINTF(2, 3) char *make_path(quire_error *err, const char *format, ...)
{
    char *path = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&path, format, args);
    va_end(args);
    if (n >= 0)
        return path;
    quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a path");
    return NULL;
}

/* --- a folder that makes way -------------------------------------------------------------------------------------- */

static quire_status refuse_folder(void *user, const char *path, const char *name, quire_error *err)
{
    (void)user, (void)name;
    struct stat st;
    if (sys.lstat(path, &st) != 0)
        return sys_fail(err, "stat", path);
    if (S_ISDIR(st.st_mode))
        return quire_fail(err, QUIRE_ERR_USAGE,
                          "'%s' is a folder within the output that would be replaced; move it or remove it first",
                          path);
    return QUIRE_OK;
}

static quire_status remove_entry(void *user, const char *path, const char *name, quire_error *err)
{
    (void)user, (void)name;
    return sys.unlink(path) == 0 ? QUIRE_OK : sys_fail(err, "remove", path);
}

static quire_status check_replaceable(const struct fresh *fresh, const struct stat *st, quire_error *err)
{
    if (!fresh->replaces)
        return quire_fail(err, QUIRE_ERR_USAGE, "'%s' exists and is not overwritten unless that is asked for (--force)",
                          fresh->path);
    if (fresh->is_folder ? !S_ISDIR(st->st_mode) : !S_ISREG(st->st_mode))
        return quire_fail(err, QUIRE_ERR_USAGE, "'%s' exists and is no %s, so that it is not replaced", fresh->path,
                          fresh->is_folder ? "folder" : "regular file");
    if (!fresh->is_folder)
        return QUIRE_OK;
    char *config = make_path(err, "%s/config.json", fresh->path);
    bool is_model = config && sys_exists(config);
    free(config);
    if (!config)
        return QUIRE_ERR_NO_MEMORY;
    if (!is_model)
        return quire_fail(err, QUIRE_ERR_USAGE, "folder '%s' has no config.json: it is not a model's and not replaced",
                          fresh->path);
    return folder_each(fresh->path, refuse_folder, NULL, err);
}

/* --- making ------------------------------------------------------------------------------------------------------- */

/* A temporary name that is free; folders are made with it. */
static quire_status find_name(struct fresh *fresh, quire_error *err)
{
    for (int i = 0; i < MAX_NAME_TRIES; i++) {
        free(fresh->temporary);
        fresh->temporary = make_path(err, "%s." TEMPORARY_NAME, fresh->path, (long)getpid(), i);
        if (!fresh->temporary)
            return QUIRE_ERR_NO_MEMORY;
        if (!fresh->is_folder && !sys_exists(fresh->temporary))
            return QUIRE_OK;
        if (!fresh->is_folder)
            continue;
        if (sys.mkdir(fresh->temporary, 0777) == 0) {
            fresh->is_made = true;
            return QUIRE_OK;
        }
        if (errno != EEXIST)
            return sys_fail(err, "make folder", fresh->temporary);
    }
    return quire_fail(err, QUIRE_ERR_IO, "'%s' and its like exist already: remove what earlier runs left",
                      fresh->temporary);
}

quire_status fresh_open(struct fresh *fresh, const char *path, bool is_folder, bool replaces, quire_error *err)
{
    struct stat st;
    *fresh = (struct fresh){.is_folder = is_folder, .replaces = replaces};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    fresh->path = make_path(err, "%.*s", (int)n, path);
    if (!fresh->path)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = QUIRE_OK;
    if (sys.lstat(fresh->path, &st) == 0)
        status = check_replaceable(fresh, &st, err);
    else if (errno != ENOENT)
        status = sys_fail(err, "write", fresh->path);
    return status == QUIRE_OK ? find_name(fresh, err) : status;
}

quire_status fresh_check_space(const struct fresh *fresh, uint64_t n_bytes, quire_error *err)
{
    struct statvfs st;
    char *folder = sys_folder_of(fresh->path, err);
    if (!folder)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = QUIRE_OK;
    if (sys.statvfs(folder, &st) != 0)
        status = sys_fail(err, "ask for the free space of", folder);
    else if (st.f_bavail < n_bytes / st.f_frsize + 1)
        status = quire_fail(err, QUIRE_ERR_NO_SPACE, "'%s' needs %llu MiB on disk, and %llu MiB are free in '%s'",
                            fresh->path, (unsigned long long)mib_up(n_bytes),
                            (unsigned long long)st.f_bavail * st.f_frsize >> 20, folder);
    free(folder);
    return status;
}

static quire_status keep_name(struct fresh *fresh, const char *name, quire_error *err)
{
    quire_status status = mem_reserve(&fresh->names, &fresh->names_capacity, fresh->n_names + 1, sizeof *fresh->names,
                                      "the names of files", err);
    char *copy = status == QUIRE_OK ? mem_strdup(name, err) : NULL;
    if (!copy)
        return QUIRE_ERR_NO_MEMORY;
    fresh->names[fresh->n_names++] = copy;
    return QUIRE_OK;
}

quire_status fresh_make_file(struct fresh_file *file, struct fresh *fresh, const char *name, uint64_t n_bytes,
                             quire_error *err)
{
    *file = (struct fresh_file){.fd = -1};
    file->path = name ? make_path(err, "%s/%s", fresh->temporary, name) : mem_strdup(fresh->temporary, err);
    quire_status status = file->path ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK && name)
        status = keep_name(fresh, name, err);
    if (status == QUIRE_OK) {
        file->fd = sys.open(file->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
        if (file->fd < 0)
            status = sys_fail(err, "create", file->path);
        else if (!name)
            fresh->is_made = true;
    }
    if (status == QUIRE_OK && n_bytes > 0 && sys.fallocate(file->fd, 0, 0, (off_t)n_bytes) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        status = sys_fail(err, "reserve space for", file->path);
    if (status != QUIRE_OK)
        fresh_drop_file(file);
    return status;
}

quire_status fresh_finish_file(struct fresh_file *file, quire_error *err)
{
    quire_status status = sys_sync(file->fd, file->path, err);
    fresh_drop_file(file);
    return status;
}

void fresh_drop_file(struct fresh_file *file)
{
    if (file->fd >= 0)
        sys.close(file->fd);
    free(file->path);
    *file = (struct fresh_file){.fd = -1};
}

quire_status fresh_write(struct fresh *fresh, const char *name, const void *bytes, size_t n, quire_error *err)
{
    struct fresh_file file;
    quire_status status = fresh_make_file(&file, fresh, name, n, err);
    if (status != QUIRE_OK)
        return status;
    status = sys_write_all(file.fd, bytes, n, 0, file.path, err);
    if (status == QUIRE_OK)
        return fresh_finish_file(&file, err);
    fresh_drop_file(&file);
    return status;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* A folder that is not empty cannot be renamed over: the two change places, and what was there goes. Where the file
 * system cannot do that in one step the old one is put aside first. */
static quire_status replace_folder(struct fresh *fresh, quire_error *err)
{
    bool was_exchanged = sys.exchange(fresh->temporary, fresh->path) == 0;
    if (!was_exchanged && errno != EINVAL && errno != ENOSYS)
        return sys_fail(err, "replace", fresh->path);
    char *aside = was_exchanged ? mem_strdup(fresh->temporary, err) : make_path(err, "%s.old", fresh->temporary);
    if (!aside)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = QUIRE_OK;
    if (!was_exchanged) {
        if (sys.rename(fresh->path, aside) != 0)
            status = sys_fail(err, "put aside", fresh->path);
        else if (sys.rename(fresh->temporary, fresh->path) != 0) {
            status = sys_fail(err, "name", fresh->path);
            sys.rename(aside, fresh->path);
        }
    }
    if (status == QUIRE_OK) {
        fresh->is_made = false;
        quire_error why = {0};
        if (folder_each(aside, remove_entry, NULL, &why) != QUIRE_OK || sys.rmdir(aside) != 0)
            status = quire_fail(err, QUIRE_ERR_IO, "'%s' is complete, but what it replaced is still there, as '%s'",
                                fresh->path, aside);
    }
    free(aside);
    return status;
}

static quire_status give_name(struct fresh *fresh, quire_error *err)
{
    struct stat st;
    bool exists = sys.lstat(fresh->path, &st) == 0;
    if (exists) { /* looked at again: the work may have taken hours */
        quire_status status = check_replaceable(fresh, &st, err);
        if (status != QUIRE_OK)
            return status;
    }
    if (exists && fresh->is_folder)
        return replace_folder(fresh, err);
    if (sys.rename(fresh->temporary, fresh->path) != 0)
        return sys_fail(err, "name", fresh->path);
    fresh->is_made = false;
    return QUIRE_OK;
}

quire_status fresh_commit(struct fresh *fresh, quire_error *err)
{
    char *folder = sys_folder_of(fresh->path, err);
    quire_status status = folder ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK && fresh->is_folder)
        status = sys_sync_folder(fresh->temporary, err);
    if (status == QUIRE_OK)
        status = give_name(fresh, err);
    quire_error why = {0};
    if (status == QUIRE_OK && sys_sync_folder(folder, &why) != QUIRE_OK)
        status = quire_fail(err, why.status, "'%s' is complete, but a power cut may still take its name: %s",
                            fresh->path, why.message);
    free(folder);
    return status;
}

void fresh_close(struct fresh *fresh)
{
    for (size_t i = 0; i < fresh->n_names; i++) {
        char *path = fresh->is_made ? make_path(NULL, "%s/%s", fresh->temporary, fresh->names[i]) : NULL;
        if (path)
            sys.unlink(path);
        free(path);
        free(fresh->names[i]);
    }
    if (fresh->is_made && fresh->is_folder)
        sys.rmdir(fresh->temporary);
    else if (fresh->is_made)
        sys.unlink(fresh->temporary);
    free(fresh->names);
    free(fresh->temporary);
    free(fresh->path);
    *fresh = (struct fresh){0};
}

/* --- what was left ------------------------------------------------------------------------------------------------ */

static quire_status remove_left(void *user, const char *path, const char *name, quire_error *err)
{
    const char *of = *(const char *const *)user;
    size_t n = strlen(of);
    long process;
    int number, n_read = 0;
    (void)err;
    bool is_temporary = strncmp(name, of, n) == 0 && name[n] == '.' &&
                        sscanf(name + n + 1, TEMPORARY_NAME "%n", &process, &number, &n_read) == 2 && n_read > 0 &&
                        name[n + 1 + (size_t)n_read] == '\0';
    if (!is_temporary || sys.unlink(path) == 0)
        return QUIRE_OK;
    folder_each(path, remove_entry, NULL, NULL);
    sys.rmdir(path);
    return QUIRE_OK;
}

void fresh_sweep(const char *path)
{
    char *folder = sys_folder_of(path, NULL);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (folder)
        folder_each(folder, remove_left, &name, NULL);
    free(folder);
}
