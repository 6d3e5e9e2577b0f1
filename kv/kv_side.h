/* The files that a commit writes anew beside the layers (enum kv_side): written and read in pieces, with one hash over
 * all of them that the manifest holds. */
#ifndef QUIRE_KV_SIDE_H
#define QUIRE_KV_SIDE_H

#include "kv/kv_file.h"
#include "kv/kv_format.h"

struct kv_side_file {
    int fd;
    char path[KV_PATH_SIZE];
    struct kv_side_ref ref; /* what was written or read so far */
};

/* Makes the file of this kind and generation. After a failure of any call until kv_side_finish: kv_side_abandon.
 * Errors: IO, NO_SPACE. */
quire_status kv_side_create(struct kv_side_file *file, const char *folder, enum kv_side kind, uint64_t generation,
                            quire_error *err);
quire_status kv_side_write(struct kv_side_file *file, const void *data, size_t n_bytes, quire_error *err);
/* The file is durable and closed; *ref is for the manifest. */
quire_status kv_side_finish(struct kv_side_file *file, struct kv_side_ref *ref, quire_error *err);
/* Closes and removes. */
void kv_side_abandon(struct kv_side_file *file);

/* Opens the file that ref names. Errors: FORMAT (missing or of another size), IO. */
quire_status kv_side_open(struct kv_side_file *file, const char *folder, enum kv_side kind,
                          const struct kv_side_ref *ref, quire_error *err);
/* Reads the next bytes. Errors: FORMAT (too few), IO. */
quire_status kv_side_read(struct kv_side_file *file, void *data, size_t n_bytes, quire_error *err);
/* All was read and is what ref says. Errors: FORMAT. */
quire_status kv_side_check(const struct kv_side_file *file, const struct kv_side_ref *ref, quire_error *err);
void kv_side_close(struct kv_side_file *file);

/* The file that ref names is no longer needed. */
void kv_side_remove(const char *folder, enum kv_side kind, const struct kv_side_ref *ref);

/* What an interrupted writer left: side files that the manifest does not name, and half-written replacements of
 * manifest or about. Without the writer's lock they may also be those of a commit under way. */
bool kv_side_has_leftovers(const char *folder, const struct kv_manifest *manifest);
void kv_side_remove_leftovers(const char *folder, const struct kv_manifest *manifest);

#endif
