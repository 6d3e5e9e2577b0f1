#include "kv_record.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/sys.h"
#include "test.h"

enum { N_FDS = 1024, SECTOR = 512, NOWHERE = -1 };

const char *const record_crash_names[RECORD_N_CRASHES] = {"kept", "dropped", "torn", "reordered"};

static struct record *current;
static int node_of[N_FDS]; /* by descriptor; NOWHERE: not of the recorded folder */

static void *grown(void *items, size_t n, size_t *capacity, size_t item_bytes)
{
    if (n < *capacity)
        return items;
    *capacity = *capacity ? 2 * *capacity : 256;
    items = realloc(items, *capacity * item_bytes);
    if (!items)
        exit(1);
    return items;
}

static bool is_about(const struct record_event *event, int folder, const char *name)
{
    return event->kind <= RECORD_RENAME && event->folder == folder &&
           (strcmp(event->name, name) == 0 || (event->kind == RECORD_RENAME && strcmp(event->from, name) == 0));
}

static bool is_known(int folder, const char *name)
{
    size_t i = 0;
    while (i < current->n_events && !is_about(&current->events[i], folder, name))
        i++;
    return i < current->n_events;
}

static struct record_event *add_event(enum record_kind kind, int folder, int node, const char *name)
{
    bool is_first = kind <= RECORD_RENAME && !is_known(folder, name);
    current->events = grown(current->events, current->n_events, &current->capacity, sizeof *current->events);
    struct record_event *event = &current->events[current->n_events++];
    *event = (struct record_event){.kind = kind, .folder = folder, .node = node, .is_first = is_first};
    snprintf(event->name, sizeof event->name, "%s", name);
    return event;
}

static int add_node(int folder, const char *name, bool is_folder)
{
    current->nodes = grown(current->nodes, current->n_nodes, &current->node_capacity, sizeof *current->nodes);
    struct record_node *node = &current->nodes[current->n_nodes];
    *node = (struct record_node){.folder = folder, .is_folder = is_folder};
    snprintf(node->name, sizeof node->name, "%s", name);
    return (int)current->n_nodes++;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

/* What the name stands for after an event that is about it. */
static int named_after(const struct record_event *event, const char *name)
{
    return event->kind == RECORD_REMOVE || strcmp(event->name, name) != 0 ? NOWHERE : event->node;
}

static int find_name(int folder, const char *name)
{
    for (size_t i = current->n_events; i-- > 0;)
        if (is_about(&current->events[i], folder, name))
            return named_after(&current->events[i], name);
    return NOWHERE;
}

/* The folder of a path and its last name; NOWHERE where the path leads out of what is recorded. */
static int find_folder(const char *path, char name[RECORD_NAME_SIZE])
{
    size_t n_root = strlen(current->root);
    int folder = RECORD_ROOT;
    name[0] = '\0';
    if (strncmp(path, current->root, n_root) != 0 || (path[n_root] != '/' && path[n_root] != '\0'))
        return NOWHERE;
    for (const char *p = path + n_root; *p;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (name[0])
            folder = find_name(folder, name);
        if (n >= RECORD_NAME_SIZE || folder == NOWHERE) {
            fprintf(stderr, "cannot record '%s'\n", path);
            exit(1);
        }
        if (n > 0)
            snprintf(name, RECORD_NAME_SIZE, "%.*s", (int)n, p);
        p += n;
    }
    return folder;
}

static int find_node(const char *path)
{
    char name[RECORD_NAME_SIZE];
    int folder = find_folder(path, name);
    return folder == NOWHERE || !name[0] ? folder : find_name(folder, name);
}

/* --- the door ---------------------------------------------------------------------------------------------------- */

static int recorded_open(const char *path, int flags, mode_t mode)
{
    bool is_nameless = (flags & O_TMPFILE) == O_TMPFILE;
    int fd = sys_real.open(path, flags, mode), node = is_nameless ? NOWHERE : find_node(path);
    if (fd < 0)
        return fd;
    char name[RECORD_NAME_SIZE];
    int folder = find_folder(path, name);
    if (fd >= N_FDS)
        exit(1);
    if (node == NOWHERE && folder != NOWHERE && (flags & O_CREAT) && !is_nameless) {
        node = add_node(folder, name, false);
        add_event(RECORD_MAKE, folder, node, name);
    } else if (node != NOWHERE && (flags & O_TRUNC)) {
        add_event(RECORD_RESIZE, NOWHERE, node, "");
    }
    node_of[fd] = node;
    return fd;
}

static int recorded_close(int fd)
{
    node_of[fd] = NOWHERE;
    return sys_real.close(fd);
}

static ssize_t recorded_pwrite(int fd, const void *buffer, size_t n, off_t offset)
{
    ssize_t written = sys_real.pwrite(fd, buffer, n, offset);
    if (written <= 0 || node_of[fd] == NOWHERE)
        return written;
    struct record_event *event = add_event(RECORD_WRITE, NOWHERE, node_of[fd], "");
    event->offset = (uint64_t)offset;
    event->n = (uint64_t)written;
    event->data = malloc((size_t)written);
    if (!event->data)
        exit(1);
    memcpy(event->data, buffer, (size_t)written);
    return written;
}

static int recorded_ftruncate(int fd, off_t size)
{
    int result = sys_real.ftruncate(fd, size);
    if (result == 0 && node_of[fd] != NOWHERE)
        add_event(RECORD_RESIZE, NOWHERE, node_of[fd], "")->n = (uint64_t)size;
    return result;
}

static int recorded_fallocate(int fd, int mode, off_t offset, off_t n)
{
    int result = sys_real.fallocate(fd, mode, offset, n);
    if (result == 0 && node_of[fd] != NOWHERE && (mode & FALLOC_FL_PUNCH_HOLE)) {
        struct record_event *event = add_event(RECORD_HOLE, NOWHERE, node_of[fd], "");
        event->offset = (uint64_t)offset;
        event->n = (uint64_t)n;
    }
    return result;
}

/* The same for files and folders, whole or contents only: the size, too, is durable after either. */
static int recorded_sync(int fd)
{
    if (node_of[fd] != NOWHERE)
        add_event(RECORD_SYNC, NOWHERE, node_of[fd], "");
    return 0;
}

static int recorded_rename(const char *from, const char *to)
{
    char old_name[RECORD_NAME_SIZE], name[RECORD_NAME_SIZE];
    int old_folder = find_folder(from, old_name), folder = find_folder(to, name), node = find_node(from);
    int result = sys_real.rename(from, to);
    if (folder != old_folder)
        exit(1);
    if (result == 0 && folder != NOWHERE) {
        struct record_event *event = add_event(RECORD_RENAME, folder, node, name);
        memcpy(event->from, old_name, sizeof event->from);
    }
    return result;
}

static void note_removal(const char *path, int result)
{
    char name[RECORD_NAME_SIZE];
    int folder = find_folder(path, name);
    if (result == 0 && folder != NOWHERE)
        add_event(RECORD_REMOVE, folder, NOWHERE, name);
}

static int recorded_unlink(const char *path)
{
    int result = sys_real.unlink(path);
    note_removal(path, result);
    return result;
}

static int recorded_rmdir(const char *path)
{
    int result = sys_real.rmdir(path);
    note_removal(path, result);
    return result;
}

static int recorded_mkdir(const char *path, mode_t mode)
{
    char name[RECORD_NAME_SIZE];
    int result = sys_real.mkdir(path, mode), folder = result == 0 ? find_folder(path, name) : NOWHERE;
    if (folder != NOWHERE)
        add_event(RECORD_MAKE, folder, add_node(folder, name, true), name);
    return result;
}

void record_begin(struct record *record, const char *folder)
{
    *record = (struct record){0};
    snprintf(record->root, sizeof record->root, "%s", folder);
    current = record;
    add_node(NOWHERE, "", true);
    for (int i = 0; i < N_FDS; i++)
        node_of[i] = NOWHERE;
    sys = sys_real;
    sys.open = recorded_open;
    sys.close = recorded_close;
    sys.pwrite = recorded_pwrite;
    sys.ftruncate = recorded_ftruncate;
    sys.fallocate = recorded_fallocate;
    sys.fsync = recorded_sync;
    sys.fdatasync = recorded_sync;
    sys.rename = recorded_rename;
    sys.unlink = recorded_unlink;
    sys.rmdir = recorded_rmdir;
    sys.mkdir = recorded_mkdir;
}

void record_end(void)
{
    sys = sys_real;
    current = NULL;
}

void record_release(struct record *record)
{
    for (size_t i = 0; i < record->n_events; i++)
        free(record->events[i].data);
    free(record->events);
    free(record->nodes);
    *record = (struct record){0};
}

/* --- the disk after a crash -------------------------------------------------------------------------------------- */

struct replay {
    const struct record *record;
    size_t n_events;
    enum record_crash crash;
    uint64_t seed;
};

/* How many of the events were there when the node was last synced. */
static size_t synced(const struct replay *r, int node)
{
    for (size_t i = r->n_events; i-- > 0;)
        if (r->record->events[i].kind == RECORD_SYNC && r->record->events[i].node == node)
            return i;
    return 0;
}

static void apply(int fd, const struct record_event *event, uint64_t skip, uint64_t n)
{
    off_t offset = (off_t)(event->offset + skip);
    bool is_done = event->kind == RECORD_RESIZE ? ftruncate(fd, (off_t)event->n) == 0
                   : event->kind == RECORD_HOLE
                       ? fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)n) == 0
                       : pwrite(fd, event->data + skip, n, offset) == (ssize_t)n;
    if (!is_done) {
        perror("cannot replay");
        exit(1);
    }
}

static void apply_torn(struct replay *r, int fd, const struct record_event *event)
{
    if (event->kind == RECORD_RESIZE)
        apply(fd, event, 0, 0);
    if (event->kind == RECORD_HOLE && test_random(&r->seed) % 2)
        apply(fd, event, 0, event->n);
    for (uint64_t at = 0, n; event->kind == RECORD_WRITE && at < event->n; at += n) {
        n = SECTOR - (event->offset + at) % SECTOR;
        n = n < event->n - at ? n : event->n - at;
        if (test_random(&r->seed) % 2)
            apply(fd, event, at, n);
    }
}

/* Some of the events, in any order. */
static void apply_reordered(struct replay *r, int fd, const struct record_event **events, size_t n)
{
    for (; n > 0; n--) {
        size_t i = test_random(&r->seed) % n;
        if (test_random(&r->seed) % 2)
            apply(fd, events[i], 0, events[i]->n);
        events[i] = events[n - 1];
    }
}

static void make_file(struct replay *r, int node, const char *path)
{
    const struct record_event **unsynced = malloc((r->n_events + 1) * sizeof *unsynced);
    size_t n_unsynced = 0, end = synced(r, node);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || !unsynced) {
        perror(path);
        exit(1);
    }
    for (size_t i = 0; i < r->n_events; i++) {
        const struct record_event *event = &r->record->events[i];
        bool is_change = event->kind == RECORD_WRITE || event->kind == RECORD_RESIZE || event->kind == RECORD_HOLE;
        if (event->node != node || !is_change)
            continue;
        if (i < end || r->crash == RECORD_KEPT)
            apply(fd, event, 0, event->n);
        else
            unsynced[n_unsynced++] = event;
    }
    if (r->crash == RECORD_TORN)
        for (size_t i = 0; i < n_unsynced; i++)
            apply_torn(r, fd, unsynced[i]);
    if (r->crash == RECORD_REORDERED)
        apply_reordered(r, fd, unsynced, n_unsynced);
    free(unsynced);
    close(fd);
}

/* What a name of the folder stands for; event `first` is the first one about it. */
static int choose_node(struct replay *r, int folder, const char *name, size_t first, size_t end)
{
    int node = NOWHERE;
    size_t n_choices = 1;
    for (size_t i = first; i < r->n_events; i++) {
        const struct record_event *event = &r->record->events[i];
        if (!is_about(event, folder, name))
            continue;
        if (i < end || r->crash == RECORD_KEPT || r->crash == RECORD_TORN)
            node = named_after(event, name);
        else if (r->crash == RECORD_REORDERED && test_random(&r->seed) % ++n_choices == 0)
            node = named_after(event, name);
    }
    return node;
}

static void make_folder(struct replay *r, int folder, const char *path)
{
    size_t end = synced(r, folder);
    for (size_t i = 0; i < r->n_events; i++) {
        const struct record_event *event = &r->record->events[i];
        char child[4096];
        if (!event->is_first || event->folder != folder)
            continue;
        int node = choose_node(r, folder, event->name, i, end);
        if (node == NOWHERE)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, event->name);
        if (!r->record->nodes[node].is_folder) {
            make_file(r, node, child);
        } else if (mkdir(child, 0700) == 0) {
            make_folder(r, node, child);
        } else {
            perror(child);
            exit(1);
        }
    }
}

void record_replay(const struct record *record, size_t n_events, enum record_crash crash, uint64_t seed,
                   const char *folder)
{
    struct replay replay = {record, n_events, crash, seed};
    make_folder(&replay, RECORD_ROOT, folder);
}
