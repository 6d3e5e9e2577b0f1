/* What a power cut leaves. A record holds, in order, every change that went through the door to a folder; from any
 * beginning of it the disks can be made that a crash at that moment may leave behind.
 *
 * The file system is as unkind as POSIX allows, which is more than ext4, XFS or Btrfs are:
 *  - a write or a change of size is durable after an fsync or fdatasync of that file, and before that it may be there,
 *    be missing, or be there for some of its sectors, whatever happened to later and earlier ones;
 *  - a name (made, renamed, removed) is durable after an fsync of its folder, and a sync of the file it names does not
 *    help; before that, it may stand where any of the changes since the last sync left it, each name for itself;
 *  - what is in a folder whose own name is lost is lost with it. */
#ifndef QUIRE_TESTS_KV_RECORD_H
#define QUIRE_TESTS_KV_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_kind {
    RECORD_MAKE,   /* `node` gets the name `name` in `folder` */
    RECORD_REMOVE, /* `name` leaves `folder` */
    RECORD_RENAME, /* in `folder`, `from` becomes `name`: both name `node` for a moment, or one of them does */
    RECORD_WRITE,  /* n bytes of data at offset */
    RECORD_RESIZE, /* to n bytes */
    RECORD_HOLE,   /* n bytes at offset given back; space that is reserved changes nothing that can be read */
    RECORD_SYNC    /* of `node`, a file's contents or a folder's names */
};

enum { RECORD_ROOT = 0, RECORD_NAME_SIZE = 32 };

struct record_event {
    enum record_kind kind;
    int folder, node; /* files and folders are numbered as they come; the recorded folder is RECORD_ROOT */
    char name[RECORD_NAME_SIZE], from[RECORD_NAME_SIZE];
    bool is_first; /* about this name */
    uint64_t offset, n;
    unsigned char *data;
};

struct record_node {
    int folder; /* where it was made */
    char name[RECORD_NAME_SIZE];
    bool is_folder;
};

struct record {
    char root[256];
    struct record_event *events;
    size_t n_events, capacity;
    struct record_node *nodes;
    size_t n_nodes, node_capacity;
};

/* From now on what happens below `folder`, which is empty, is recorded; until record_end. One record at a time, from
 * one thread. */
void record_begin(struct record *record, const char *folder);
void record_end(void);
void record_release(struct record *record);

enum record_crash {
    RECORD_KEPT,      /* the process died, the machine did not: all is there */
    RECORD_DROPPED,   /* nothing that was not synced is there */
    RECORD_TORN,      /* names are there; of unsynced writes some sectors of 512 bytes */
    RECORD_REORDERED, /* some of the unsynced writes, in any order; each unsynced name at any of its places */
    RECORD_N_CRASHES
};
extern const char *const record_crash_names[RECORD_N_CRASHES];

/* Makes in `folder`, which is empty, what a crash after the first n_events leaves. */
void record_replay(const struct record *record, size_t n_events, enum record_crash crash, uint64_t seed,
                   const char *folder);

#endif
