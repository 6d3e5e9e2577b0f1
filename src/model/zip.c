#include "zip.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "cursor.h"

#define LOCAL_MAGIC     0x04034B50u
#define DIRECTORY_MAGIC 0x02014B50u
#define END_MAGIC       0x06054B50u
#define END_64_MAGIC    0x06064B50u
#define LOCATOR_MAGIC   0x07064B50u

enum {
    LOCAL_BYTES = 30,
    DIRECTORY_BYTES = 46,
    END_BYTES = 22,
    END_64_BYTES = 56,
    LOCATOR_BYTES = 20,
    FLAG_ENCRYPTED = 0x2041, /* the data, or the directory's own fields */
    FLAG_SIZES_FOLLOW = 8,   /* behind the data; those in the local header are 0 */
    STORED = 0,
    EXTRA_64 = 1,
};

struct parser {
    const unsigned char *data;
    size_t n;
    const char *path;
    quire_error *err;
};

/* Where the directory lies, as the records at the end of the file say. */
struct directory {
    uint64_t begin, n_bytes, n_entries;
};

/* One record of the directory, numbers of 64 bits put in. */
struct record {
    const char *name;
    uint16_t n_name, flags, method, disk;
    uint32_t narrow_stored; /* the size in the file as the 32-bit field has it */
    uint64_t n_stored, n_bytes, begin;
};

bool zip_is_zip(const unsigned char *data, size_t n)
{
    return n >= 4 && load_u32(data) == LOCAL_MAGIC;
}

static quire_status bad(struct parser *p, const char *what)
{
    return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' is not a sound zip archive: %s", p->path, what);
}

static quire_status bad_entry(struct parser *p, const struct record *r, const char *what)
{
    return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' is not a sound zip archive: entry '%s' %s", p->path,
                      printable(r->name, r->n_name).text, what);
}

/* A field of the old record has the new one's value, or says that it does not fit. */
static bool agrees(uint64_t narrow, uint64_t wide, uint64_t most)
{
    return narrow == wide || narrow == most;
}

/* Where the last record begins. A comment may follow it up to the end of the file. */
static quire_status find_end(struct parser *p, size_t *at)
{
    size_t most = size_min(p->n, END_BYTES + UINT16_MAX);
    for (size_t n = END_BYTES; n <= most; n++) {
        const unsigned char *end = p->data + p->n - n;
        if (load_u32(end) == END_MAGIC && load_u16(end + 20) == n - END_BYTES) {
            *at = p->n - n;
            return QUIRE_OK;
        }
    }
    return quire_fail(p->err, QUIRE_ERR_FORMAT,
                      "'%s' is cut short: it begins as a zip archive, but has no directory at its end; fetch the file "
                      "again",
                      p->path);
}

/* The 64-bit record, where a locator in front of the last record points to one; *limit is where the directory must end
 * at the latest. */
static quire_status read_end_64(struct parser *p, size_t end_at, const struct directory *narrow, struct directory *d,
                                size_t *limit)
{
    if (end_at < LOCATOR_BYTES || load_u32(p->data + end_at - LOCATOR_BYTES) != LOCATOR_MAGIC) {
        *d = *narrow;
        *limit = end_at;
        return QUIRE_OK;
    }
    const unsigned char *locator = p->data + end_at - LOCATOR_BYTES;
    size_t locator_at = end_at - LOCATOR_BYTES;
    uint64_t at = taken(load_u64(locator + 8));
    if (load_u32(locator + 4) != 0 || load_u32(locator + 16) > 1)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED, "'%s' is one part of a zip archive in several", p->path);
    if (locator_at < END_64_BYTES || at > locator_at - END_64_BYTES || load_u32(p->data + at) != END_64_MAGIC)
        return bad(p, "its 64-bit end record is not where its locator says");
    const unsigned char *end = p->data + at;
    if (load_u32(end + 16) != 0 || load_u32(end + 20) != 0 || load_u64(end + 24) != load_u64(end + 32))
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED, "'%s' is one part of a zip archive in several", p->path);
    *d = (struct directory){.begin = taken(load_u64(end + 48)),
                            .n_bytes = taken(load_u64(end + 40)),
                            .n_entries = taken(load_u64(end + 32))};
    if (!agrees(narrow->n_entries, d->n_entries, UINT16_MAX) || !agrees(narrow->n_bytes, d->n_bytes, UINT32_MAX) ||
        !agrees(narrow->begin, d->begin, UINT32_MAX))
        return bad(p, "its two end records contradict each other");
    *limit = (size_t)at;
    return QUIRE_OK;
}

static quire_status find_directory(struct parser *p, struct directory *d)
{
    size_t end_at = 0, limit = 0;
    quire_status status = find_end(p, &end_at);
    if (status != QUIRE_OK)
        return status;
    const unsigned char *end = p->data + end_at;
    struct directory narrow = {.begin = taken(load_u32(end + 16)),
                               .n_bytes = taken(load_u32(end + 12)),
                               .n_entries = taken(load_u16(end + 10))};
    if (load_u16(end + 4) != 0 || load_u16(end + 6) != 0 || load_u16(end + 8) != narrow.n_entries)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED, "'%s' is one part of a zip archive in several", p->path);
    status = read_end_64(p, end_at, &narrow, d, &limit);
    if (status != QUIRE_OK)
        return status;
    if (d->begin > limit || d->n_bytes > limit - d->begin)
        return bad(p, "its directory does not lie in front of its end record");
    if (d->n_entries > d->n_bytes / DIRECTORY_BYTES)
        return quire_fail(
            p->err, QUIRE_ERR_FORMAT,
            "'%s' is not a sound zip archive: its directory of %llu bytes claims %llu entries of at least "
            "%d bytes each",
            p->path, (unsigned long long)d->n_bytes, (unsigned long long)d->n_entries, DIRECTORY_BYTES);
    return QUIRE_OK;
}

/* The extra field with what does not fit the record: the numbers that are all ones there, in this order. */
static bool read_extra_64(struct record *r, const unsigned char *extra, size_t n)
{
    struct cursor cursor = {.data = extra, .n_bytes = n};
    while (cursor_left(&cursor) >= 4) {
        const unsigned char *head = NULL, *body;
        size_t n_body = cursor_bytes(&cursor, 4, &head) ? (size_t)taken(load_u16(head + 2)) : 0;
        if (!cursor_bytes(&cursor, n_body, &body))
            return false;
        if (load_u16(head) != EXTRA_64)
            continue;
        struct cursor numbers = {.data = body, .n_bytes = n_body};
        return (r->n_bytes != UINT32_MAX || cursor_u64(&numbers, &r->n_bytes)) &&
               (r->n_stored != UINT32_MAX || cursor_u64(&numbers, &r->n_stored)) &&
               (r->begin != UINT32_MAX || cursor_u64(&numbers, &r->begin));
    }
    return true; /* what is all ones is meant so, and will not lie within the file */
}

static quire_status read_record(struct parser *p, struct cursor *directory, struct record *r)
{
    const unsigned char *fixed, *name, *extra, *comment;
    if (!cursor_bytes(directory, DIRECTORY_BYTES, &fixed) || load_u32(fixed) != DIRECTORY_MAGIC)
        return bad(p, "its directory does not have as many entries as it claims");
    size_t n_name = (size_t)taken(load_u16(fixed + 28)), n_extra = (size_t)taken(load_u16(fixed + 30));
    if (!cursor_bytes(directory, n_name, &name) || !cursor_bytes(directory, n_extra, &extra) ||
        !cursor_bytes(directory, load_u16(fixed + 32), &comment))
        return bad(p, "an entry reaches beyond the end of its directory");
    *r = (struct record){
        .name = (const char *)name,
        .n_name = (uint16_t)n_name,
        .flags = load_u16(fixed + 8),
        .method = load_u16(fixed + 10),
        .disk = load_u16(fixed + 34),
        .narrow_stored = load_u32(fixed + 20),
        .n_stored = taken(load_u32(fixed + 20)),
        .n_bytes = taken(load_u32(fixed + 24)),
        .begin = taken(load_u32(fixed + 42)),
    };
    return read_extra_64(r, extra, n_extra) ? QUIRE_OK : bad_entry(p, r, "has a malformed extra field");
}

static quire_status check_record(struct parser *p, const struct record *r)
{
    if (r->n_name == 0)
        return bad(p, "an entry has no name");
    if (r->flags & FLAG_ENCRYPTED)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED, "'%s': entry '%s' is encrypted", p->path,
                          printable(r->name, r->n_name).text);
    if (r->disk != 0)
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED, "'%s' is one part of a zip archive in several", p->path);
    if (r->method == STORED && r->n_stored != r->n_bytes)
        return bad_entry(p, r, "is stored, but has two different sizes");
    return QUIRE_OK;
}

/* What the local header says must be what the directory says; then the data follows it. */
static quire_status locate(struct parser *p, const struct record *r, size_t limit, struct zip_entry *entry)
{
    if (r->begin > limit || limit - r->begin < LOCAL_BYTES || load_u32(p->data + r->begin) != LOCAL_MAGIC)
        return bad_entry(p, r, "has no header where the directory says");
    const unsigned char *local = p->data + r->begin;
    size_t n_left = limit - (size_t)r->begin - LOCAL_BYTES;
    size_t n_name = (size_t)taken(load_u16(local + 26)), n_extra = (size_t)taken(load_u16(local + 28));
    if (n_name + n_extra > n_left)
        return bad_entry(p, r, "has a header that reaches into the directory");
    uint32_t n_here = load_u32(local + 18);
    bool follows = load_u16(local + 6) & FLAG_SIZES_FOLLOW;
    if (n_name != r->n_name || memcmp(local + LOCAL_BYTES, r->name, n_name) != 0 || load_u16(local + 8) != r->method ||
        load_u16(local + 6) != r->flags || (r->method == STORED && load_u32(local + 22) != n_here) ||
        (n_here != r->narrow_stored && n_here != UINT32_MAX && !(follows && n_here == 0)))
        return bad_entry(p, r, "has a header that contradicts the directory");
    n_left -= n_name + n_extra;
    if (r->n_stored > n_left)
        return quire_fail(p->err, QUIRE_ERR_FORMAT,
                          "'%s' is not a sound zip archive: entry '%s' claims %llu bytes, but there are only %zu in "
                          "front of the directory",
                          p->path, printable(r->name, r->n_name).text, (unsigned long long)r->n_stored, n_left);
    *entry = (struct zip_entry){
        .name = r->name,
        .data = local + LOCAL_BYTES + n_name + n_extra,
        .n_bytes = (size_t)r->n_stored,
        .begin = (size_t)r->begin,
        .n_name = r->n_name,
        .method = r->method,
    };
    return QUIRE_OK;
}

static int compare_places(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int compare_name(const struct zip_entry *entry, const char *name, size_t n)
{
    int order = memcmp(entry->name, name, size_min(entry->n_name, n));
    return order ? order : (entry->n_name > n) - (entry->n_name < n);
}

static int compare_names(const void *a, const void *b)
{
    const struct zip_entry *y = b;
    return compare_name(a, y->name, y->n_name);
}

/* Sorted by place, no entry begins before the one in front of it ends; sorted by name, no two are the same. */
static quire_status check_entries(struct parser *p, struct zip *zip)
{
    if (zip->n_entries > 0)
        qsort(zip->entries, zip->n_entries, sizeof *zip->entries, compare_places);
    for (size_t i = 1; i < zip->n_entries; i++) {
        const struct zip_entry *a = &zip->entries[i - 1], *b = &zip->entries[i];
        if (b->begin < (size_t)(a->data - p->data) + a->n_bytes)
            return quire_fail(p->err, QUIRE_ERR_FORMAT,
                              "'%s' is not a sound zip archive: entries '%s' and '%s' overlap", p->path,
                              printable(a->name, a->n_name).text, printable(b->name, b->n_name).text);
    }
    if (zip->n_entries > 0)
        qsort(zip->entries, zip->n_entries, sizeof *zip->entries, compare_names);
    for (size_t i = 1; i < zip->n_entries; i++)
        if (compare_names(&zip->entries[i - 1], &zip->entries[i]) == 0)
            return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' is not a sound zip archive: two entries are named '%s'",
                              p->path, printable(zip->entries[i].name, zip->entries[i].n_name).text);
    return QUIRE_OK;
}

quire_status zip_open(struct zip *out, const unsigned char *data, size_t n, const char *path, quire_error *err)
{
    struct parser parser = {data, n, path, err}, *p = &parser;
    struct directory d = {0};
    quire_status status = find_directory(p, &d);
    if (status != QUIRE_OK)
        return status;
    _Static_assert(sizeof(struct zip_entry) <= DIRECTORY_BYTES, "an entry takes no more memory than in the file");
    struct zip zip = {.entries = mem_calloc((size_t)d.n_entries, sizeof *zip.entries, "a zip directory", err)};
    struct cursor directory = {.data = data + d.begin, .n_bytes = (size_t)d.n_bytes};
    status = zip.entries ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    while (status == QUIRE_OK && zip.n_entries < d.n_entries) {
        struct record record = {0};
        status = read_record(p, &directory, &record);
        if (status == QUIRE_OK)
            status = check_record(p, &record);
        if (status == QUIRE_OK)
            status = locate(p, &record, (size_t)d.begin, &zip.entries[zip.n_entries++]);
    }
    if (status == QUIRE_OK && cursor_left(&directory) > 0)
        status = bad(p, "its directory has more entries than it claims");
    if (status == QUIRE_OK)
        status = check_entries(p, &zip);
    if (status == QUIRE_OK)
        *out = zip;
    else
        zip_release(&zip);
    return status;
}

void zip_release(struct zip *zip)
{
    free(zip->entries);
    *zip = (struct zip){0};
}

const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t n_name)
{
    size_t low = 0, high = zip->n_entries;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_name(&zip->entries[middle], name, n_name);
        if (order == 0)
            return &zip->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const char *method_name(unsigned method)
{
    switch (method) {
    case 8: return "deflate";
    case 9: return "deflate64";
    case 12: return "bzip2";
    case 14: return "lzma";
    case 93: return "zstd";
    case 95: return "xz";
    }
    return "an unknown method";
}

quire_status zip_check_stored(const struct zip *zip, const char *path, quire_error *err)
{
    for (size_t i = 0; i < zip->n_entries; i++) {
        const struct zip_entry *entry = &zip->entries[i];
        if (entry->method != STORED)
            return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                              "'%s': entry '%s' is compressed (%s); weights are used where they lie, so unpack the "
                              "archive and pack it again with 'zip -0', or save the model again with torch.save",
                              path, printable(entry->name, entry->n_name).text, method_name(entry->method));
    }
    return QUIRE_OK;
}
