/* Zip archives as torch.save writes them, and every way in which one may be something else. */
#include "base/bytes.h"
#include "model/zip.h"
#include "test.h"
#include "torch_writer.h"

static const char local[] = "PK\3\4", record[] = "PK\1\2", end[] = "PK\5\6", end_64[] = "PK\6\6", locator[] = "PK\6\7";

/* Three entries: a/first (7 bytes), a/second (100 bytes), a/empty. */
static struct bytes sound(void)
{
    struct zip_writer zip = {0};
    unsigned char data[100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(3 * i);
    zip_add(&zip, "a/first", "seven 7", 7);
    zip_add(&zip, "a/second", data, sizeof data);
    zip_add(&zip, "a/empty", "", 0);
    return zip_finish(&zip);
}

/* The n-th place, from 0, of a record with this magic. */
static unsigned char *find(struct bytes *file, const char *magic, int n)
{
    unsigned char *at = file->data;
    for (;; at++) {
        at = memmem(at, file->n - (size_t)(at - file->data), magic, 4);
        if (!at || n-- == 0)
            break;
    }
    if (!at) {
        fprintf(stderr, "test set-up: no such record\n");
        exit(1);
    }
    return at;
}

/* A copy of exactly its size, so that the address sanitizer sees a read behind it. */
static quire_status open_copy(struct zip *zip, unsigned char **copy, const struct bytes *file, size_t n,
                              quire_error *err)
{
    *copy = malloc(n ? n : 1);
    memcpy(*copy, file->data, n);
    return zip_open(zip, *copy, n, "f", err);
}

static void check_refused(struct bytes *file, quire_status expected, const char *message)
{
    quire_error err = {0};
    struct zip zip = {0};
    unsigned char *copy;
    CHECK_EQ_INT(open_copy(&zip, &copy, file, file->n, &err), expected);
    CHECK(zip.entries == NULL);
    CHECK_MESSAGE(err, message);
    CHECK_MESSAGE(err, "'f'");
    zip_release(&zip);
    free(copy);
    bytes_release(file);
}

static void reads_entries(void)
{
    quire_error err = {0};
    struct zip zip = {0};
    struct bytes file = sound();
    CHECK(zip_is_zip(file.data, file.n));
    CHECK_OK(zip_open(&zip, file.data, file.n, "f", &err));
    CHECK_EQ_INT(zip.n_entries, 3);
    const struct zip_entry *first = zip_find(&zip, "a/first", 7), *second = zip_find(&zip, "a/second", 8);
    CHECK(first && first->n_bytes == 7 && memcmp(first->data, "seven 7", 7) == 0);
    CHECK(second && second->n_bytes == 100 && second->data[99] == (3 * 99) % 256);
    CHECK(second && (second->data - file.data) % 64 == 0);
    CHECK(zip_find(&zip, "a/empty", 7) && zip_find(&zip, "a/empty", 7)->n_bytes == 0);
    CHECK(!zip_find(&zip, "a/firs", 6) && !zip_find(&zip, "a/first ", 8) && !zip_find(&zip, "", 0));
    zip_release(&zip);
    bytes_release(&file);
}

/* A zip without 64-bit records, with a comment, as other programs write. */
static void reads_narrow_archives(void)
{
    quire_error err = {0};
    struct zip zip = {0};
    struct bytes file = sound(), narrow = {0};
    size_t n_front = (size_t)(find(&file, end_64, 0) - file.data);
    bytes_add(&narrow, file.data, n_front);
    bytes_add(&narrow, find(&file, end, 0), 20);
    bytes_add(&narrow, "\4\0PK\5\6", 6); /* a comment that looks like what it follows */
    CHECK_OK(zip_open(&zip, narrow.data, narrow.n, "f", &err));
    CHECK_EQ_INT(zip.n_entries, 3);
    zip_release(&zip);
    bytes_release(&file);
    bytes_release(&narrow);
}

/* Sizes and places in 64 bits, in the extra field of the record and in the end record. */
static void reads_wide_numbers(void)
{
    quire_error err = {0};
    struct zip zip = {0};
    struct bytes file = sound(), wide = {0};
    unsigned char *from = find(&file, record, 1), *last = find(&file, record, 2);
    size_t begin = load_u32(from + 42);
    memset(from + 20, 0xFF, 8);
    memset(from + 42, 0xFF, 4);
    from[30] = 28 + 6;
    bytes_add(&wide, file.data, (size_t)(last - file.data));
    bytes_add(&wide, "FB\2\0ZZ\1\0\30\0", 10); /* another field first */
    bytes_add_u64(&wide, 100);
    bytes_add_u64(&wide, 100);
    bytes_add_u64(&wide, begin);
    bytes_add(&wide, last, (size_t)(file.data + file.n - last));
    memset(find(&wide, end, 0) + 8, 0xFF, 12);
    uint64_t n_directory = load_u64(find(&wide, end_64, 0) + 40) + 34,
             at = (uint64_t)(find(&wide, end_64, 0) - wide.data);
    memcpy(find(&wide, end_64, 0) + 40, &n_directory, 8);
    memcpy(find(&wide, locator, 0) + 8, &at, 8);
    CHECK_OK(zip_open(&zip, wide.data, wide.n, "f", &err));
    CHECK(zip_find(&zip, "a/second", 8) && zip_find(&zip, "a/second", 8)->n_bytes == 100);
    zip_release(&zip);
    wide.data[find(&wide, record, 1) + 46 + 8 + 8 - wide.data] = 15; /* 15 bytes are no three numbers */
    check_refused(&wide, QUIRE_ERR_FORMAT, "'a/second' has a malformed extra field");
    bytes_release(&file);
}

/* One number changed: in the n-th record of a kind, at an offset, by its bytes. */
static void refuses_what_contradicts_itself(void)
{
    static const struct {
        const char *magic;
        int n, offset, n_bytes;
        uint64_t value;
        quire_status status;
        const char *message;
    } cases[] = {
        {end, 0, 4, 2, 1, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {end, 0, 8, 2, 2, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {end, 0, 12, 4, 1, QUIRE_ERR_FORMAT, "two end records contradict"},
        {end, 0, 16, 4, 1, QUIRE_ERR_FORMAT, "two end records contradict"},
        {end, 0, 20, 2, 1, QUIRE_ERR_FORMAT, "cut short"},
        {locator, 0, 4, 4, 1, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {locator, 0, 16, 4, 2, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {locator, 0, 8, 8, 0, QUIRE_ERR_FORMAT, "64-bit end record is not where"},
        {locator, 0, 8, 8, UINT64_MAX, QUIRE_ERR_FORMAT, "64-bit end record is not where"},
        {locator, 0, 8, 8, UINT64_MAX - 55, QUIRE_ERR_FORMAT, "64-bit end record is not where"},
        {end_64, 0, 16, 4, 1, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {end_64, 0, 24, 8, 2, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {end_64, 0, 32, 8, UINT64_MAX, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {end_64, 0, 40, 8, UINT64_MAX, QUIRE_ERR_FORMAT, "two end records contradict"},
        {end_64, 0, 48, 8, (uint64_t)1 << 63, QUIRE_ERR_FORMAT, "two end records contradict"},
        {record, 1, 0, 4, 0, QUIRE_ERR_FORMAT, "not have as many entries"},
        {record, 0, 8, 2, 0x809, QUIRE_ERR_UNSUPPORTED, "'a/first' is encrypted"},
        {record, 0, 8, 2, 0x2808, QUIRE_ERR_UNSUPPORTED, "'a/first' is encrypted"},
        {record, 1, 20, 4, 99, QUIRE_ERR_FORMAT, "'a/second' is stored, but has two different sizes"},
        {record, 0, 28, 2, 0, QUIRE_ERR_FORMAT, "no name"},
        {record, 2, 28, 2, 65535, QUIRE_ERR_FORMAT, "reaches beyond the end of its directory"},
        {record, 2, 30, 2, 1, QUIRE_ERR_FORMAT, "reaches beyond the end of its directory"},
        {record, 2, 32, 2, 65535, QUIRE_ERR_FORMAT, "reaches beyond the end of its directory"},
        {record, 0, 34, 2, 3, QUIRE_ERR_UNSUPPORTED, "one part of a zip archive"},
        {record, 0, 42, 4, 1, QUIRE_ERR_FORMAT, "'a/first' has no header where"},
        {record, 0, 42, 4, UINT32_MAX, QUIRE_ERR_FORMAT, "'a/first' has no header where"},
        {record, 0, 42, 4, UINT32_MAX - 1, QUIRE_ERR_FORMAT, "'a/first' has no header where"},
        {record, 0, 46, 1, 'b', QUIRE_ERR_FORMAT, "'b/first' has a header that contradicts"},
        {local, 0, 26, 2, 6, QUIRE_ERR_FORMAT, "'a/first' has a header that contradicts"},
        {local, 0, 26, 2, 65535, QUIRE_ERR_FORMAT, "reaches into the directory"},
        {local, 0, 28, 2, 65535, QUIRE_ERR_FORMAT, "reaches into the directory"},
        {local, 0, 8, 2, 8, QUIRE_ERR_FORMAT, "contradicts the directory"},
        {local, 0, 6, 2, 0, QUIRE_ERR_FORMAT, "contradicts the directory"},
        {local, 0, 18, 8, 0x800000008, QUIRE_ERR_FORMAT, "contradicts the directory"},
        {local, 0, 18, 4, 7, QUIRE_ERR_FORMAT, "contradicts the directory"},
        {local, 1, 0, 4, 0, QUIRE_ERR_FORMAT, "'a/second' has no header where"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes file = sound();
        memcpy(find(&file, cases[i].magic, cases[i].n) + cases[i].offset, &cases[i].value, (size_t)cases[i].n_bytes);
        check_refused(&file, cases[i].status, cases[i].message);
    }
}

static void names_compressed_entries(void)
{
    static const struct {
        uint16_t method;
        const char *name;
    } cases[] = {{8, "deflate"}, {12, "bzip2"}, {93, "zstd"}, {77, "an unknown method"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        struct zip zip = {0};
        struct bytes file = sound();
        memcpy(find(&file, record, 1) + 10, &cases[i].method, 2);
        memcpy(find(&file, local, 1) + 8, &cases[i].method, 2);
        CHECK_OK(zip_open(&zip, file.data, file.n, "f", &err));
        CHECK_EQ_INT(zip_check_stored(&zip, "f", &err), QUIRE_ERR_UNSUPPORTED);
        CHECK_MESSAGE(err, "'f': entry 'a/second' is compressed (");
        CHECK_MESSAGE(err, cases[i].name);
        zip_release(&zip);
        bytes_release(&file);
    }
}

static void refuses_what_does_not_fit(void)
{
    struct bytes file = sound();
    uint64_t most = UINT64_MAX;
    memcpy(find(&file, end_64, 0) + 24, &most, 8); /* both counts; the narrow one says that it is too small */
    memcpy(find(&file, end_64, 0) + 32, &most, 8);
    memset(find(&file, end, 0) + 8, 0xFF, 4);
    check_refused(&file, QUIRE_ERR_FORMAT, "claims 18446744073709551615 entries of at least 46 bytes");
    file = sound();
    memcpy(find(&file, end_64, 0) + 40, &most, 8);
    memset(find(&file, end, 0) + 12, 0xFF, 4);
    check_refused(&file, QUIRE_ERR_FORMAT, "does not lie in front of its end record");
    file = sound();
    memcpy(find(&file, end_64, 0) + 48, &most, 8);
    memset(find(&file, end, 0) + 16, 0xFF, 4);
    check_refused(&file, QUIRE_ERR_FORMAT, "does not lie in front of its end record");
    file = sound();
    memset(find(&file, record, 1) + 20, 0xFF, 8); /* no 64-bit number follows: it is meant so */
    check_refused(&file, QUIRE_ERR_FORMAT, "'a/second' claims 4294967295 bytes, but there are only");
    file = sound();
    find(&file, end_64, 0)[24] = find(&file, end_64, 0)[32] = find(&file, end, 0)[8] = find(&file, end, 0)[10] = 2;
    check_refused(&file, QUIRE_ERR_FORMAT, "has more entries than it claims");
}

static void refuses_overlaps_and_twins(void)
{
    struct bytes file = sound();
    uint32_t grown = 108; /* the first entry's data then reaches over the second's header */
    memcpy(find(&file, record, 0) + 20, &grown, 4);
    memcpy(find(&file, record, 0) + 24, &grown, 4);
    check_refused(&file, QUIRE_ERR_FORMAT, "entries 'a/first' and 'a/second' overlap");
    struct zip_writer zip = {0};
    zip_add(&zip, "a/b", "1", 1);
    zip_add(&zip, "a/c", "2", 1);
    zip_add(&zip, "a/b", "3", 1);
    file = zip_finish(&zip);
    check_refused(&file, QUIRE_ERR_FORMAT, "two entries are named 'a/b'");
    zip = (struct zip_writer){0}; /* two records of one entry */
    zip_add(&zip, "a/b", "1", 1);
    zip_add(&zip, "a/c", "2", 1);
    file = zip_finish(&zip);
    memcpy(find(&file, record, 1), find(&file, record, 0), 46 + 3);
    check_refused(&file, QUIRE_ERR_FORMAT, "entries 'a/b' and 'a/b' overlap");
}

static void refuses_every_shorter_file(void)
{
    struct bytes file = sound();
    for (size_t n = 0; n < file.n; n++) {
        quire_error err = {0};
        struct zip zip = {0};
        unsigned char *copy;
        CHECK_EQ_INT(open_copy(&zip, &copy, &file, n, &err), QUIRE_ERR_FORMAT);
        CHECK_MESSAGE(err, "cut short");
        zip_release(&zip);
        free(copy);
    }
    bytes_release(&file);
}

static void survives_damage(void)
{
    struct bytes file = sound();
    uint64_t random = 20230505;
    for (int round = 0; round < 20000; round++) {
        quire_error err = {0};
        struct zip zip = {0};
        struct bytes damaged = {0};
        unsigned char *copy;
        bytes_add(&damaged, file.data, file.n);
        for (uint64_t k = test_random(&random) % 4 + 1; k > 0; k--)
            damaged.data[test_random(&random) % damaged.n] = (unsigned char)test_random(&random);
        quire_status status = open_copy(&zip, &copy, &damaged, damaged.n, &err);
        CHECK((status == QUIRE_OK) == (err.message[0] == '\0'));
        for (size_t i = 0; i < zip.n_entries; i++)
            CHECK(zip.entries[i].data >= copy && zip.entries[i].n_bytes <= damaged.n &&
                  zip.entries[i].data + zip.entries[i].n_bytes <= copy + damaged.n);
        zip_release(&zip);
        free(copy);
        bytes_release(&damaged);
    }
    bytes_release(&file);
}

static const struct test tests[] = {
    {"reads_entries", reads_entries},
    {"reads_narrow_archives", reads_narrow_archives},
    {"reads_wide_numbers", reads_wide_numbers},
    {"refuses_what_contradicts_itself", refuses_what_contradicts_itself},
    {"names_compressed_entries", names_compressed_entries},
    {"refuses_what_does_not_fit", refuses_what_does_not_fit},
    {"refuses_overlaps_and_twins", refuses_overlaps_and_twins},
    {"refuses_every_shorter_file", refuses_every_shorter_file},
    {"survives_damage", survives_damage},
};
TEST_MAIN(tests)
