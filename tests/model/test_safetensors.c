/* safetensors files in memory: what is read, and every way to be malformed. */
#include "files.h"
#include "model/safetensors.h"
#include "test.h"

/* A file with this header, then n_data bytes. */
static struct bytes with_header(const char *header, size_t n_data)
{
    struct bytes file = {0};
    bytes_add_u64(&file, strlen(header));
    bytes_add(&file, header, strlen(header));
    for (size_t i = 0; i < n_data; i++) {
        unsigned char byte = (unsigned char)(i * 7);
        bytes_add(&file, &byte, 1);
    }
    return file;
}

static void reads_tensors(void)
{
    quire_error err = {0};
    struct tensors tensors = {0};
    struct bytes file = with_header("{\"__metadata__\":{\"format\":\"pt\"},"
                                    "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                                    "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                    "\"none\":{\"dtype\":\"BF16\",\"shape\":[4,0],\"data_offsets\":[8,8]},"
                                    "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}   ",
                                    28);
    CHECK_OK(safetensors_add(&tensors, file.data, file.n, "f", &err));
    CHECK_OK(tensors_sort(&tensors, &err));
    CHECK_EQ_INT(tensors.n, 4);
    const struct tensor *b = tensors_find(&tensors, "b"), *one = tensors_find(&tensors, "one");
    CHECK(b && b->is_number && b->type == QUIRE_DTYPE_F16 && b->n_dims == 2 && b->dims[0] == 2 && b->dims[1] == 3);
    CHECK(b && b->n_bytes == 12 && b->data == file.data + file.n - 28 + 8);
    CHECK(one && !one->is_number && one->n_dims == 0 && one->n_bytes == 8);
    CHECK(tensors_find(&tensors, "c") == NULL);
    tensors_release(&tensors);
    bytes_release(&file);
}

static void refuses_malformed_headers(void)
{
#define A(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(first, second)                                                                                             \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" first "},"                                              \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" second "}}"
    static const struct {
        const char *header;
        size_t n_data;
        quire_status status;
        const char *message;
    } cases[] = {
        {" {}", 0, QUIRE_ERR_FORMAT, "does not begin with '{'"},
        {"", 0, QUIRE_ERR_FORMAT, "does not begin with '{'"},
        {"{\"a\":", 0, QUIRE_ERR_FORMAT, "not valid JSON"},
        {"{} x", 0, QUIRE_ERR_FORMAT, "not valid JSON"},
        {"{\"a\":{},\"a\":{}}", 0, QUIRE_ERR_FORMAT, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\"}}", 0, QUIRE_ERR_FORMAT, "duplicate"},
        {"{\"a\":7}", 0, QUIRE_ERR_FORMAT, "'a': expected a 'dtype'"},
        {"{\"a\":{}}", 0, QUIRE_ERR_FORMAT, "'a': expected a 'dtype'"},
        {"{\"__metadata__\":7}", 0, QUIRE_ERR_FORMAT, "__metadata__"},
        {"{\"__metadata__\":{\"x\":7}}", 0, QUIRE_ERR_FORMAT, "__metadata__"},
        {A("\"F33\"", "[1]", "[0,4]"), 4, QUIRE_ERR_UNSUPPORTED, "'F33'"},
        {A("\"F32\"", "[-1]", "[0,4]"), 4, QUIRE_ERR_FORMAT, "whole numbers from 0"},
        {A("\"F32\"", "[1.0]", "[0,4]"), 4, QUIRE_ERR_FORMAT, "whole numbers from 0"},
        {A("\"F32\"", "7", "[0,4]"), 4, QUIRE_ERR_FORMAT, "'shape'"},
        {A("\"F32\"", "[4611686018427387904,4]", "[0,0]"), 0, QUIRE_ERR_FORMAT, "overflows"},
        {A("\"F32\"", "[1]", "[0]"), 4, QUIRE_ERR_FORMAT, "'data_offsets'"},
        {A("\"F32\"", "[1]", "7"), 4, QUIRE_ERR_FORMAT, "'data_offsets'"},
        {A("\"F32\"", "[1]", "[4,0]"), 4, QUIRE_ERR_FORMAT, "not above the second"},
        {A("\"F32\"", "[1]", "[-4,0]"), 4, QUIRE_ERR_FORMAT, "'data_offsets'"},
        {A("\"F32\"", "[2]", "[0,4]"), 4, QUIRE_ERR_FORMAT, "shape [2] has 4 bytes, expected 8"},
        {A("\"F32\"", "[2,1]", "[0,8]"), 7, QUIRE_ERR_FORMAT, "cut short: tensor 'a' ends at byte 8"},
        {A("\"F32\"", "[2]", "[0,8]"), 9, QUIRE_ERR_FORMAT, "1 bytes behind its last tensor"},
        {A("\"F32\"", "[1]", "[4,8]"), 8, QUIRE_ERR_FORMAT, "leave a hole"},
        {TWO("[0,4]", "[3,7]"), 7, QUIRE_ERR_FORMAT, "'b' begins at byte 3 of the data, expected 4: tensors overlap"},
        {TWO("[0,4]", "[0,4]"), 4, QUIRE_ERR_FORMAT, "overlap"},
        {TWO("[0,4]", "[5,9]"), 9, QUIRE_ERR_FORMAT, "leave a hole"},
        {TWO("[0,4]", "[18446744073709551612,18446744073709551616]"), 4, QUIRE_ERR_FORMAT, "JSON"},
        {TWO("[0,4]", "[9223372036854775803,9223372036854775807]"), 4, QUIRE_ERR_FORMAT, "cut short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        struct tensors tensors = {0};
        struct bytes file = with_header(cases[i].header, cases[i].n_data);
        CHECK_EQ_INT(safetensors_add(&tensors, file.data, file.n, "f", &err), cases[i].status);
        CHECK_MESSAGE(err, cases[i].message);
        CHECK_MESSAGE(err, "'f'");
        tensors_release(&tensors);
        bytes_release(&file);
    }
}

static void refuses_impossible_sizes(void)
{
    static const uint64_t sizes[] = {100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        quire_error err = {0};
        struct tensors tensors = {0};
        struct bytes file = {0};
        bytes_add_u64(&file, sizes[i]);
        bytes_add(&file, "{}", 2);
        CHECK_EQ_INT(safetensors_add(&tensors, file.data, file.n, "f", &err), QUIRE_ERR_FORMAT);
        CHECK_MESSAGE(err, "'f'");
        tensors_release(&tensors);
        bytes_release(&file);
    }
}

/* A header that would take 80 times its size in memory. */
static void refuses_headers_of_nothing(void)
{
    static const struct {
        const char *piece;
        size_t n;
        quire_status status;
        const char *message;
    } cases[] = {
        {"{}", 262144, QUIRE_ERR_UNSUPPORTED, "holds 262146 objects and arrays and up to 524290 values, expected"},
        {"[]", 262143, QUIRE_ERR_UNSUPPORTED, "holds 262145 objects"},
        {"0", 1048575, QUIRE_ERR_UNSUPPORTED, "holds 2 objects and arrays and up to 1048577 values"},
        {"0", 1048574, QUIRE_ERR_FORMAT, "'': expected a 'dtype'"},
        {"\"[{,\\\"[\"", 262144, QUIRE_ERR_FORMAT, "'': expected a 'dtype'"}, /* in a string they are none */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        struct tensors tensors = {0};
        struct bytes header = {0};
        bytes_add(&header, "{\"\":[0", 6);
        for (size_t k = 0; k < cases[i].n; k++) {
            bytes_add(&header, ",", 1);
            bytes_add(&header, cases[i].piece, strlen(cases[i].piece));
        }
        bytes_add(&header, "]}", 3);
        struct bytes file = with_header((const char *)header.data, 0);
        CHECK_EQ_INT(safetensors_add(&tensors, file.data, file.n, "f", &err), cases[i].status);
        CHECK_MESSAGE(err, cases[i].message);
        tensors_release(&tensors);
        bytes_release(&header);
        bytes_release(&file);
    }
}

static void refuses_every_shorter_file(void)
{
    struct bytes file = file_read(golden_path("mosaic-D/model.safetensors"));
    for (size_t n = 0; n < file.n; n++) {
        if (n > 6000 && n % 61 != 0) /* within the header each length, then some */
            continue;
        quire_error err = {0};
        struct tensors tensors = {0};
        /* A copy of exactly this size, so that the address sanitizer sees a read behind it. */
        unsigned char *copy = malloc(n ? n : 1);
        memcpy(copy, file.data, n);
        CHECK_EQ_INT(safetensors_add(&tensors, copy, n, "f", &err), QUIRE_ERR_FORMAT);
        CHECK_MESSAGE(err, "cut short");
        tensors_release(&tensors);
        free(copy);
    }
    bytes_release(&file);
}

static void survives_damaged_headers(void)
{
    struct bytes file = file_read(golden_path("mosaic-D/model.safetensors"));
    uint64_t random = 20230505;
    for (int round = 0; round < 3000; round++) {
        struct bytes copy = {0};
        bytes_add(&copy, file.data, file.n);
        for (uint64_t k = test_random(&random) % 4 + 1; k > 0; k--)
            copy.data[test_random(&random) % 3000] = (unsigned char)test_random(&random);
        quire_error err = {0};
        struct tensors tensors = {0};
        quire_status status = safetensors_add(&tensors, copy.data, copy.n, "f", &err);
        CHECK((status == QUIRE_OK) == (err.message[0] == '\0'));
        tensors_release(&tensors);
        bytes_release(&copy);
    }
    bytes_release(&file);
}

static void finds_one_name_in_two_files(void)
{
    quire_error err = {0};
    struct tensors tensors = {0};
    struct bytes file = with_header(A("\"F32\"", "[1]", "[0,4]"), 4);
    CHECK_OK(safetensors_add(&tensors, file.data, file.n, "first", &err));
    CHECK_OK(safetensors_add(&tensors, file.data, file.n, "second", &err));
    CHECK_EQ_INT(tensors_sort(&tensors, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "'first'");
    CHECK_MESSAGE(err, "'second'");
    tensors_release(&tensors);
    bytes_release(&file);
}

static const struct test tests[] = {
    {"reads_tensors", reads_tensors},
    {"refuses_malformed_headers", refuses_malformed_headers},
    {"refuses_impossible_sizes", refuses_impossible_sizes},
    {"refuses_headers_of_nothing", refuses_headers_of_nothing},
    {"refuses_every_shorter_file", refuses_every_shorter_file},
    {"survives_damaged_headers", survives_damaged_headers},
    {"finds_one_name_in_two_files", finds_one_name_in_two_files},
};
TEST_MAIN(tests)
