/* One book as one file, for another store or another machine. In this order:
 *
 *     header      64 bytes (struct kv_archive_header)
 *     manifest    as in a folder, of generation 1, without parent, base or flight; side files of generation 1
 *     about       as in a folder
 *     tokens      as in a folder, whole records; ids behind the frontier are 0
 *     blocks      [layer][head][block] { the block, its XXH3 (u64) }: all whole blocks of the text
 *     tail        as in a folder, where the frontier is inside a block
 *     logits      as in a folder, where they are known
 *
 * Each part has its own checksum: the header and the manifest theirs, about and tokens as in a folder, blocks the one
 * behind each, tail and logits those in the manifest. The length follows from the first two, so that a file that is cut
 * or has something behind its end is refused before anything is made of it. */
#ifndef QUIRE_KV_ARCHIVE_H
#define QUIRE_KV_ARCHIVE_H

#include "kv/kv_about.h"
#include "kv/kv_format.h"

enum { KV_ARCHIVE_VERSION = 1 };

struct kv_archive_header {
    char magic[8];
    uint32_t version;
    uint32_t n_about; /* bytes of the about file */
    uint64_t n_bytes; /* of the whole file */
    uint64_t reserved[4];
    uint64_t checksum; /* XXH3 of all before */
};
_Static_assert(sizeof(struct kv_archive_header) == 64, "an archive's header has no padding");

/* Bytes of the file. The manifest was checked. Errors: USAGE (too large). */
quire_status kv_archive_bytes(uint64_t *out, const struct kv_manifest *manifest, uint32_t n_about, quire_error *err);

/* Sets magic, version and checksum. */
void kv_archive_seal(struct kv_archive_header *header);

/* n_bytes: of the file, at least those of a header. Errors: FORMAT, MISMATCH (another version). */
quire_status kv_archive_check_header(const struct kv_archive_header *header, uint64_t n_bytes, const char *name,
                                     quire_error *err);

/* A manifest that kv_manifest_check found sound: it is such as an archive has, and the file as long as it says. Errors:
 * FORMAT. */
quire_status kv_archive_check_manifest(const struct kv_manifest *manifest, const struct kv_archive_header *header,
                                       const char *name, quire_error *err);

#endif
