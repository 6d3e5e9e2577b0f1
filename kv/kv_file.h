/* Files and folders of the store: whole operations with their error messages, on base/sys.h. */
#ifndef QUIRE_KV_FILE_H
#define QUIRE_KV_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire/error.h"

/* What kv_file_replace writes before it has its name. */
#define KV_TEMPORARY_SUFFIX ".tmp"

enum {
    KV_PATH_SIZE = 4096,
    KV_FOLDER_MAX = KV_PATH_SIZE - 64 /* the longest store or spill folder: any file's path below it fits */
};

/* folder/name, name being printf-like. */
void kv_path(char path[KV_PATH_SIZE], const char *folder, const char *name, ...) QUIRE_PRINTF(3, 4);

/* flags as for open, with mode 0600 and close-on-exec. *is_missing (may be NULL) tells whether the reason of a failure
 * is that there is no such file. Errors: IO, NO_SPACE. */
quire_status kv_file_open(int *fd, const char *path, int flags, bool *is_missing, quire_error *err);

/* The same for a file that belongs to a book: FORMAT where it is missing. */
quire_status kv_file_open_own(int *fd, const char *path, int flags, quire_error *err);

/* Whether it is the name of a file that kv_file_temporary was about to take away. */
bool kv_file_is_temporary(const char *name);

/* A file without a name in `folder`: it vanishes with its last descriptor. Errors: IO, NO_SPACE. */
quire_status kv_file_temporary(int *fd, const char *folder, quire_error *err);

/* Errors: IO, NO_SPACE. */
quire_status kv_file_size(int fd, uint64_t *n_bytes, const char *path, quire_error *err);
quire_status kv_file_resize(int fd, uint64_t n_bytes, const char *path, quire_error *err);

/* Takes the disk space of a part of the file, whose contents and size stay what they are: holes go on to read as zeros.
 * *is_possible becomes false, and nothing is wrong, where the file system has no such thing. Errors: IO, NO_SPACE. */
quire_status kv_file_reserve(int fd, uint64_t offset, uint64_t n_bytes, const char *path, bool *is_possible,
                             quire_error *err);

/* Makes a part of the file a hole, where the file system can. */
void kv_file_punch(int fd, uint64_t offset, uint64_t n_bytes);

/* Contents durable (fdatasync). Errors: IO, NO_SPACE. */
quire_status kv_file_sync(int fd, const char *path, quire_error *err);

/* folder/name holds the bytes, durably, or what it held before, whenever the power fails. Errors: IO, NO_SPACE;
 * *is_unsure (may be NULL) tells that the new file is in place, but perhaps not durably. */
quire_status kv_file_replace(const char *folder, const char *name, const void *data, size_t n_bytes, bool *is_unsure,
                             quire_error *err);

/* Opens, makes where missing, and locks against every other opener; the lock ends with the descriptor, and so with the
 * process. *is_missing (may be NULL): its folder is gone, or the file was removed before it was locked. Errors: BUSY
 * (unless is_patient: then it waits), IO, NO_SPACE. */
quire_status kv_file_lock(int *fd, const char *path, bool is_patient, bool *is_missing, quire_error *err);

/* A shared lock on an open file, waiting for one that is not (held for moments), and one that is not shared with any
 * other descriptor. Both end with the descriptor. Errors: IO; the second: BUSY, where others share it: then fd has no
 * lock at all. */
quire_status kv_file_share(int fd, const char *path, quire_error *err);
quire_status kv_file_unshare(int fd, const char *path, quire_error *err);

/* close, for a descriptor that may be -1; sets it to -1. */
void kv_file_close(int *fd);

/* Calls visit for every name but "." and "..". Errors: IO. */
typedef void (*kv_folder_visit)(void *context, const char *name);
quire_status kv_folder_list(const char *folder, kv_folder_visit visit, void *context, quire_error *err);

/* Removes the folder and the files in it, as far as that is possible. */
void kv_folder_remove(const char *folder);

#endif
