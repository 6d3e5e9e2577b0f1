/* GGUF files: values of every type, hostile files, real ones cut short, damaged, and overwritten while they are used.
 */
#include <fcntl.h>
#include <unistd.h>

#include "files.h"
#include "model/gguf_file.h"
#include "test.h"

static void add_header(struct bytes *file, uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    bytes_add(file, "GGUF", 4);
    bytes_add_u32(file, version);
    bytes_add_u64(file, n_tensors);
    bytes_add_u64(file, n_pairs);
}

static void add_key(struct bytes *file, const char *key, uint32_t type)
{
    bytes_add_string(file, key);
    bytes_add_u32(file, type);
}

static void add_tensor(struct bytes *file, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                       uint64_t offset)
{
    bytes_add_string(file, name);
    bytes_add_u32(file, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        bytes_add_u64(file, dims[d]);
    bytes_add_u32(file, type);
    bytes_add_u64(file, offset);
}

/* Opens the bytes as a file; takes them. */
static quire_status open_bytes(struct gguf **gguf, struct bytes *file, quire_error *err)
{
    char *folder = folder_make();
    quire_status status = gguf_open(gguf, file_write(folder, "f.gguf", file->data, file->n), err);
    folder_remove(folder);
    bytes_release(file);
    return status;
}

static void check_refused(struct bytes *file, quire_status expected, const char *message)
{
    quire_error err = {0};
    struct gguf *gguf = NULL;
    CHECK_EQ_INT(open_bytes(&gguf, file, &err), expected);
    CHECK(gguf == NULL);
    CHECK_MESSAGE(err, message);
    CHECK_MESSAGE(err, "f.gguf");
}

static void reads_values(void)
{
    quire_error err = {0};
    struct gguf *gguf;
    struct bytes file = {0};
    add_header(&file, 3, 0, 9);
    add_key(&file, "u8", 0), bytes_add(&file, "\xC8", 1);
    add_key(&file, "i64", 11), bytes_add_u64(&file, 70000);
    add_key(&file, "negative", 5), bytes_add_u32(&file, (uint32_t)-1);
    add_key(&file, "large", 10), bytes_add_u64(&file, (uint64_t)1 << 32);
    add_key(&file, "f32", 6), bytes_add_f32(&file, 1.5f);
    add_key(&file, "yes", 7), bytes_add(&file, "\1", 1);
    add_key(&file, "text", 8), bytes_add_string(&file, "words");
    add_key(&file, "numbers", 9), bytes_add_u32(&file, 5), bytes_add_u64(&file, 2), bytes_add_u64(&file, 7);
    add_key(&file, "strings", 9), bytes_add_u32(&file, 8), bytes_add_u64(&file, 3);
    bytes_add_string(&file, "a"), bytes_add_string(&file, ""), bytes_add_string(&file, "ccc");
    REQUIRE_OK(open_bytes(&gguf, &file, &err));

    uint32_t number = 0;
    float real = 0;
    bool flag = false, found = false;
    struct gguf_string string;
    struct gguf_array array;
    CHECK_OK(gguf_get_u32(gguf, "u8", &number, &found, &err));
    CHECK_EQ_INT(number, 200);
    CHECK_OK(gguf_get_u32(gguf, "i64", &number, &found, &err));
    CHECK_EQ_INT(number, 70000);
    CHECK_OK(gguf_get_u32(gguf, "absent", &number, &found, &err));
    CHECK(!found);
    CHECK_EQ_INT(number, 70000);
    CHECK_OK(gguf_get_f32(gguf, "f32", &real, &found, &err));
    CHECK_NEAR(real, 1.5, 0);
    CHECK_OK(gguf_get_bool(gguf, "yes", &flag, &found, &err));
    CHECK(flag);
    CHECK_OK(gguf_get_string(gguf, "text", &string, &found, &err));
    CHECK(string.n == 5 && memcmp(string.bytes, "words", 5) == 0);
    CHECK_OK(gguf_get_array(gguf, "numbers", GGUF_I32, &array, &found, &err));
    CHECK_EQ_INT(array.n, 2);
    CHECK_OK(gguf_get_array(gguf, "strings", GGUF_STRING, &array, &found, &err));
    struct gguf_place place = {0};
    CHECK_EQ_INT(gguf_array_string(&array, &place).n, 1);
    CHECK_EQ_INT(gguf_array_string(&array, &place).n, 0);
    string = gguf_array_string(&array, &place);
    CHECK(string.n == 3 && memcmp(string.bytes, "ccc", 3) == 0);

    static const char *const not_numbers[] = {"negative", "large", "f32", "text", "strings"};
    for (size_t i = 0; i < sizeof not_numbers / sizeof not_numbers[0]; i++) {
        quire_error_clear(&err);
        CHECK_EQ_INT(gguf_get_u32(gguf, not_numbers[i], &number, &found, &err), QUIRE_ERR_FORMAT);
        CHECK_MESSAGE(err, not_numbers[i]);
    }
    quire_error_clear(&err);
    CHECK_EQ_INT(gguf_get_array(gguf, "numbers", GGUF_STRING, &array, &found, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "array of i32, expected an array of string");
    gguf_close(gguf);
}

static void refuses_other_files(void)
{
    struct bytes file = {0};
    check_refused(&file, QUIRE_ERR_FORMAT, "cut short");
    bytes_add(&file, "GGUX\3\0\0\0", 8);
    check_refused(&file, QUIRE_ERR_FORMAT, "not a GGUF file");
    add_header(&file, 1, 0, 0);
    check_refused(&file, QUIRE_ERR_UNSUPPORTED, "version 1");
    add_header(&file, 4, 0, 0);
    check_refused(&file, QUIRE_ERR_UNSUPPORTED, "version 4");
    add_header(&file, 0x03000000, 0, 0);
    check_refused(&file, QUIRE_ERR_UNSUPPORTED, "big-endian");
    quire_error err = {0};
    struct gguf *gguf;
    CHECK_EQ_INT(gguf_open(&gguf, "/nonexistent/x.gguf", &err), QUIRE_ERR_IO);
}

static void refuses_hostile_counts(void)
{
    struct bytes file = {0};
    add_header(&file, 3, 0, UINT64_MAX);
    check_refused(&file, QUIRE_ERR_FORMAT, "more than its 24 bytes can hold");
    add_header(&file, 3, (uint64_t)1 << 60, 0);
    check_refused(&file, QUIRE_ERR_FORMAT, "more than its 24 bytes can hold");
    add_header(&file, 3, 0, 65537);
    for (int i = 0; i < 65537; i++)
        add_key(&file, "k", 7), bytes_add(&file, "\1", 1);
    check_refused(&file, QUIRE_ERR_UNSUPPORTED,
                  "has 65537 key-value pairs and 0 tensors, expected at most 65536 and 262144");
    add_header(&file, 3, 0, 1), bytes_add_u64(&file, (uint64_t)1 << 63), bytes_add_u64(&file, 0);
    check_refused(&file, QUIRE_ERR_FORMAT, "claims 9223372036854775808 bytes");
    add_header(&file, 3, 0, 1), add_key(&file, "k", 8), bytes_add_u64(&file, UINT64_MAX);
    check_refused(&file, QUIRE_ERR_FORMAT, "a string value at byte 37 claims");
    add_header(&file, 3, 0, 1), add_key(&file, "k", 9), bytes_add_u32(&file, 5),
        bytes_add_u64(&file, (uint64_t)1 << 62);
    check_refused(&file, QUIRE_ERR_FORMAT, "claims 4611686018427387904 elements");
    add_header(&file, 3, 0, 1), add_key(&file, "k", 9), bytes_add_u32(&file, 8), bytes_add_u64(&file, UINT64_MAX);
    check_refused(&file, QUIRE_ERR_FORMAT, "claims 18446744073709551615 strings of at least 8 bytes");
    add_header(&file, 3, 0, 1), add_key(&file, "k", 9), bytes_add_u32(&file, 9), bytes_add_u64(&file, 1);
    check_refused(&file, QUIRE_ERR_FORMAT, "array of type 9");
    add_header(&file, 3, 0, 1), add_key(&file, "k", 13), bytes_add_u64(&file, 1);
    check_refused(&file, QUIRE_ERR_FORMAT, "value type 13");
    add_header(&file, 3, 0, 2), add_key(&file, "k", 4), bytes_add_u32(&file, 1);
    add_key(&file, "k", 4), bytes_add_u32(&file, 1);
    check_refused(&file, QUIRE_ERR_FORMAT, "key 'k' is there twice");
    add_header(&file, 3, 0, 1), add_key(&file, "\x1b[2J", 77), bytes_add_u32(&file, 1);
    check_refused(&file, QUIRE_ERR_FORMAT, "'\\x1b[2J'"); /* nothing that a terminal acts on */
}

static void refuses_hostile_tensors(void)
{
    static const uint64_t row[] = {8}, huge[] = {(uint64_t)1 << 62, 4, 4, 4}, odd[] = {33};
    static const struct {
        const char *name;
        uint32_t n_dims;
        const uint64_t *dims;
        uint32_t type;
        uint64_t offset;
        quire_status status;
        const char *message;
    } cases[] = {
        {"t", 1, row, 0, 0, QUIRE_OK, NULL},
        {"t", 0, row, 0, 0, QUIRE_ERR_FORMAT, "has 0 dimensions"},
        {"t", 4, huge, 0, 0, QUIRE_ERR_FORMAT, "overflows"},
        {"t", 1, huge, 2, 0, QUIRE_ERR_FORMAT, "cut short"},
        {"t", 1, odd, 8, 0, QUIRE_ERR_FORMAT, "of type Q8_0 has rows of 33 numbers, expected a multiple of 32"},
        {"t", 1, odd, 12, 0, QUIRE_ERR_FORMAT, "of type Q4_K has rows of 33 numbers, expected a multiple of 256"},
        {"t", 1, row, 99, 0, QUIRE_ERR_UNSUPPORTED, "type 99"},
        {"t", 1, row, 0, 32, QUIRE_ERR_FORMAT, "at offset 32 of the data, expected 0"},
        {"t", 1, row, 0, UINT64_MAX - 31, QUIRE_ERR_FORMAT, "expected 0"},
        {"", 1, row, 0, 0, QUIRE_ERR_FORMAT, "has 0 bytes, expected 1 to"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes file = {0};
        add_header(&file, 3, 1, 0);
        add_tensor(&file, cases[i].name, cases[i].n_dims, cases[i].dims, cases[i].type, cases[i].offset);
        bytes_pad(&file, 32);
        bytes_add(&file, "0123456789abcdef0123456789abcdef", 32);
        if (cases[i].status != QUIRE_OK) {
            check_refused(&file, cases[i].status, cases[i].message);
            continue;
        }
        quire_error err = {0};
        struct gguf *gguf;
        REQUIRE_OK(open_bytes(&gguf, &file, &err));
        CHECK_EQ_INT(gguf_tensor_at(gguf, 0)->n_bytes, 32);
        CHECK(memcmp(gguf_tensor_at(gguf, 0)->data, "01234567", 8) == 0);
        gguf_close(gguf);
    }
    struct bytes file = {0};
    add_header(&file, 3, 2, 0);
    add_tensor(&file, "t", 1, row, 0, 0), add_tensor(&file, "t", 1, row, 0, 32);
    bytes_pad(&file, 32);
    bytes_add(&file, (char[64]){0}, 64);
    check_refused(&file, QUIRE_ERR_FORMAT, "tensor 't' is there twice");
}

static void keeps_to_the_alignment(void)
{
    static const uint64_t row[] = {8};
    static const struct {
        uint32_t alignment;
        quire_status status;
        const char *message;
    } cases[] = {
        {0, QUIRE_ERR_FORMAT, "general.alignment is 0"},
        {48, QUIRE_ERR_FORMAT, "general.alignment is 48"},
        {0x80000000u, QUIRE_ERR_FORMAT, "cut short"},
        {64, QUIRE_OK, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes file = {0};
        add_header(&file, 3, 1, 1);
        add_key(&file, "general.alignment", 4), bytes_add_u32(&file, cases[i].alignment);
        add_tensor(&file, "t", 1, row, 0, 0);
        bytes_pad(&file, 64);
        bytes_add(&file, (char[32]){9}, 32);
        if (cases[i].status != QUIRE_OK) {
            check_refused(&file, cases[i].status, cases[i].message);
            continue;
        }
        quire_error err = {0};
        struct gguf *gguf;
        REQUIRE_OK(open_bytes(&gguf, &file, &err));
        CHECK_EQ_INT(*(const char *)gguf_tensor_at(gguf, 0)->data, 9);
        gguf_close(gguf);
    }
}

static void refuses_every_shorter_file(void)
{
    quire_error err = {0};
    struct gguf *gguf;
    struct bytes file = file_read(golden_path("gguf-everything-q4_0/model.gguf"));
    char *folder = folder_make();
    char path[4096];
    snprintf(path, sizeof path, "%s", file_write(folder, "f.gguf", file.data, file.n));
    REQUIRE_OK(gguf_open(&gguf, path, &err));
    const struct gguf_tensor *last = gguf_tensor_at(gguf, gguf_n_tensors(gguf) - 1);
    const struct gguf_tensor *first = gguf_tensor_at(gguf, 0);
    size_t last_bytes = last->n_bytes, data_bytes = (size_t)((const char *)last->data - (const char *)first->data);
    gguf_close(gguf);
    size_t header_bytes = file.n - data_bytes - (last_bytes + 31) / 32 * 32;
    size_t needed = header_bytes + data_bytes + last_bytes; /* the padding behind the last tensor may be missing */
    for (size_t n = file.n; n-- > 0;) {
        if (n > header_bytes && n < needed - 100 && n % 401 != 0)
            continue;
        quire_error_clear(&err);
        if (truncate(path, (off_t)n) != 0)
            break;
        quire_status status = gguf_open(&gguf, path, &err);
        CHECK_EQ_INT(status, n >= needed ? QUIRE_OK : QUIRE_ERR_FORMAT);
        if (status == QUIRE_OK)
            gguf_close(gguf);
        else
            CHECK_MESSAGE(err, "f.gguf");
    }
    folder_remove(folder);
    bytes_release(&file);
}

static void survives_damaged_files(void)
{
    struct bytes file = file_read(golden_path("gguf-everything-q4_0/model.gguf"));
    char *folder = folder_make();
    uint64_t random = 65519;
    for (int round = 0; round < 800; round++) {
        struct bytes copy = {0};
        bytes_add(&copy, file.data, file.n);
        for (uint64_t k = test_random(&random) % 4 + 1; k > 0; k--)
            copy.data[test_random(&random) % 1600] = (unsigned char)test_random(&random);
        quire_error err = {0};
        struct gguf *gguf;
        quire_status status = gguf_open(&gguf, file_write(folder, "f.gguf", copy.data, copy.n), &err);
        CHECK((status == QUIRE_OK) == (err.message[0] == '\0'));
        if (status == QUIRE_OK)
            gguf_close(gguf);
        bytes_release(&copy);
    }
    folder_remove(folder);
    bytes_release(&file);
}

/* The real vocabulary: 50,432 tokens and 50,009 merges, no tensors. */
static void reads_the_mpt_vocabulary(void)
{
    if (!test_data_folder())
        SKIP("QUIRE_TEST_DATA is not set");
    quire_error err = {0};
    struct gguf *gguf;
    struct gguf_array tokens, merges, types;
    bool found;
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizer/ggml-vocab-mpt.gguf", test_data_folder());
    REQUIRE_OK(gguf_open(&gguf, path, &err));
    CHECK_EQ_INT(gguf_version(gguf), 3);
    CHECK_EQ_INT(gguf_n_tensors(gguf), 0);
    REQUIRE_OK(gguf_get_array(gguf, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &found, &err));
    REQUIRE_OK(gguf_get_array(gguf, "tokenizer.ggml.merges", GGUF_STRING, &merges, &found, &err));
    REQUIRE_OK(gguf_get_array(gguf, "tokenizer.ggml.token_type", GGUF_I32, &types, &found, &err));
    CHECK_EQ_INT(tokens.n, 50432);
    CHECK_EQ_INT(merges.n, 50009);
    CHECK_EQ_INT(types.n, 50432);
    struct gguf_place place = {0};
    struct gguf_string first = gguf_array_string(&tokens, &place);
    CHECK(first.n == 13 && memcmp(first.bytes, "<|endoftext|>", 13) == 0);
    gguf_close(gguf);
}

/* Every byte of a string lies in the mapping, and is there to be read. */
static uint64_t check_inside(const struct gguf *gguf, struct gguf_string string)
{
    const char *data = (const char *)gguf->map.data;
    size_t at = (size_t)(string.bytes - data);
    bool is_inside = string.bytes >= data && at <= gguf->map.n_bytes && string.n <= gguf->map.n_bytes - at;
    uint64_t sum = 0;
    CHECK(is_inside);
    for (size_t i = 0; is_inside && i < string.n; i++)
        sum += (unsigned char)string.bytes[i];
    return sum;
}

static void walk_strings(const struct gguf *gguf)
{
    for (uint64_t i = 0; i < gguf->n_pairs; i++) {
        const struct gguf_pair *pair = &gguf->pairs[i];
        check_inside(gguf, pair->key);
        if (pair->type == GGUF_STRING)
            check_inside(gguf, pair->value.string);
        struct gguf_place place = {0};
        for (uint64_t k = 0; pair->type == GGUF_ARRAY && pair->value.array.lengths && k < pair->value.array.n; k++)
            check_inside(gguf, gguf_array_string(&pair->value.array, &place));
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        check_inside(gguf, gguf->tensors[i].name);
}

/* Somebody writes over the file when it has been checked: lengths, counts and types become as large as they can be. */
static void a_file_overwritten_in_place_is_read_inside_its_mapping(void)
{
    static const unsigned char with[] = {0xFF, 0x7F, 0x01, 0x00};
    struct bytes file = file_read(QUIRE_SOURCE_DIR "/tests/tokenizer/data/vocab.gguf");
    char *folder = folder_make(), path[4096];
    snprintf(path, sizeof path, "%s", file_write(folder, "f.gguf", file.data, file.n));
    for (size_t i = 0; i < sizeof with; i++) {
        quire_error err = {0};
        struct gguf *gguf;
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        CHECK_EQ_INT(pwrite(fd, file.data, file.n, 0), file.n);
        REQUIRE_OK(gguf_open(&gguf, path, &err));
        walk_strings(gguf);
        unsigned char *over = malloc(file.n);
        memset(over, with[i], file.n);
        CHECK_EQ_INT(pwrite(fd, over, file.n, 0), file.n);
        walk_strings(gguf);
        free(over);
        gguf_close(gguf);
        close(fd);
    }
    folder_remove(folder);
    bytes_release(&file);
}

static const struct test tests[] = {
    {"reads_values", reads_values},
    {"a_file_overwritten_in_place_is_read_inside_its_mapping", a_file_overwritten_in_place_is_read_inside_its_mapping},
    {"refuses_other_files", refuses_other_files},
    {"refuses_hostile_counts", refuses_hostile_counts},
    {"refuses_hostile_tensors", refuses_hostile_tensors},
    {"keeps_to_the_alignment", keeps_to_the_alignment},
    {"refuses_every_shorter_file", refuses_every_shorter_file},
    {"survives_damaged_files", survives_damaged_files},
    {"reads_the_mpt_vocabulary", reads_the_mpt_vocabulary},
};
TEST_MAIN(tests)
