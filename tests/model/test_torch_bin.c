/* PyTorch checkpoints: files that torch.save wrote (data/, by tests/parity/make_torch_golden.py), and archives put
 * together by hand that are wrong in one way each. */
#include <math.h>

#include "base/bytes.h"
#include "model/torch_bin.h"
#include "test.h"
#include "torch_writer.h"

static const char *const versions[] = {"1.13", "2.15"};
enum { N_VERSIONS = sizeof versions / sizeof versions[0] };

static struct bytes golden(const char *version, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/model/data/torch-%s-%s.bin", QUIRE_SOURCE_DIR, version, name);
    return file_read(path);
}

/* Element i of a tensor that make_torch_golden.py filled. */
static double value_at(size_t i, size_t seed)
{
    return ((double)((7 * i + seed) % 31) - 15) / 8;
}

static double number_at(const struct tensor *tensor, size_t i)
{
    const unsigned char *p = tensor->data;
    switch (tensor->type) {
    case QUIRE_DTYPE_F32: return (double)f32_from_bits(load_u32(p + 4 * i));
    case QUIRE_DTYPE_F16: return (double)f16_to_f32(load_u16(p + 2 * i));
    default: return (double)bf16_to_f32(load_u16(p + 2 * i));
    }
}

struct expected {
    const char *file, *name, *type;
    uint32_t n_dims;
    uint64_t dims[2];
    size_t seed, first; /* of the values, and the index that the tensor's first element has among them */
};

static void check_tensor(const struct tensors *tensors, const struct expected *e, const struct bytes *file)
{
    const struct tensor *tensor = tensors_find(tensors, e->name);
    CHECK(tensor != NULL);
    if (!tensor)
        return;
    CHECK_EQ_STR(tensor->type_name, e->type);
    CHECK(tensor->is_number && !tensor->obstacle);
    CHECK_EQ_INT(tensor->n_dims, e->n_dims);
    size_t n = 1;
    for (uint32_t d = 0; d < e->n_dims; d++) {
        CHECK_EQ_INT(tensor->dims[d], e->dims[d]);
        n *= (size_t)e->dims[d];
    }
    CHECK_EQ_INT(tensor->n_bytes, n * (strcmp(e->type, "F32") == 0 ? 4 : 2));
    const unsigned char *data = tensor->data;
    CHECK(data >= file->data && data + tensor->n_bytes <= file->data + file->n); /* in place */
    for (size_t i = 0; i < n; i++)
        CHECK_NEAR(number_at(tensor, i), value_at(e->first + i, e->seed), 0);
}

static void reads_what_torch_writes(void)
{
    static const struct expected all[] = {
        {"dict", "f32", "F32", 2, {2, 3}, 1, 0},
        {"dict", "f16", "F16", 1, {4}, 2, 0},
        {"dict", "bf16", "BF16", 2, {2, 2}, 3, 0},
        {"ordered", "proj.weight", "BF16", 2, {2, 3}, 0, 0},
        {"ordered", "proj.bias", "BF16", 1, {2}, 1, 0},
        {"ordered", "norm.weight", "BF16", 1, {3}, 2, 0},
        {"ordered", "norm.bias", "BF16", 1, {3}, 3, 0},
        {"parameters", "plain", "F32", 2, {2, 2}, 1, 0},
        {"parameters", "frozen", "F16", 1, {3}, 2, 0},
        {"parameters", "tagged", "F32", 1, {2}, 3, 0},
        {"views", "whole", "F32", 2, {4, 3}, 5, 0},
        {"views", "tied", "F32", 2, {4, 3}, 5, 0},
        {"views", "rows", "F32", 2, {2, 3}, 5, 3},
        {"views", "row", "F32", 1, {3}, 5, 6},
        {"views", "element", "F32", 0, {0}, 5, 10},
        {"views", "flat", "F32", 1, {12}, 5, 0},
        {"views", "none", "F32", 2, {0, 4}, 0, 0},
        {"views", "one-row", "F32", 2, {1, 2}, 5, 3},
        {"nested", "inside", "F32", 2, {2, 2}, 9, 0},
        {"many", "layers.0.weight", "F32", 1, {1}, 0, 0},
        {"many", "layers.39.weight", "F32", 1, {1}, 39, 0},
    };
    for (size_t v = 0; v < N_VERSIONS; v++)
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            quire_error err = {0};
            struct tensors tensors = {0};
            struct bytes file = golden(versions[v], all[i].file);
            CHECK_OK(torch_bin_add(&tensors, file.data, file.n, "f", &err));
            CHECK_OK(tensors_sort(&tensors, &err));
            check_tensor(&tensors, &all[i], &file);
            tensors_release(&tensors);
            bytes_release(&file);
        }
}

/* What is no number, and what does not lie in one piece, is there, but cannot be used. */
static void describes_what_it_cannot_use(void)
{
    static const struct {
        const char *file, *name, *type;
        bool is_view;
    } all[] = {
        {"dict", "i64", "I64", false},    {"dict", "u8", "U8", false},        {"views", "transposed", "F32", true},
        {"views", "column", "F32", true}, {"views", "repeated", "F32", true}, {"untyped", "f8", "F8_E4M3", false},
        {"untyped", "u16", "U16", false},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        quire_error err = {0};
        struct tensors tensors = {0};
        struct bytes file = golden("2.15", all[i].file);
        CHECK_OK(torch_bin_add(&tensors, file.data, file.n, "f", &err));
        CHECK_OK(tensors_sort(&tensors, &err));
        const struct tensor *tensor = tensors_find(&tensors, all[i].name);
        CHECK(tensor && !tensor->is_number && (tensor->obstacle != NULL) == all[i].is_view);
        CHECK(tensor && (tensor->n_bytes == 0) == all[i].is_view);
        CHECK_EQ_STR(tensor ? tensor->type_name : "", all[i].type);
        tensors_release(&tensors);
        bytes_release(&file);
    }
}

static void check_refused(const void *data, size_t n, quire_status expected, const char *message)
{
    quire_error err = {0};
    struct tensors tensors = {0};
    unsigned char *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    CHECK_EQ_INT(torch_bin_add(&tensors, copy, n, "f", &err), expected);
    CHECK_MESSAGE(err, message);
    CHECK_MESSAGE(err, "'f'");
    tensors_release(&tensors);
    free(copy);
}

static void refuses_what_torch_writes_for_others(void)
{
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"module", "asks for __main__.Block, which"},
        {"list", "it holds a list, expected a dictionary of tensors"},
        {"os-system", "asks for posix.system, which"},
        {"eval", "asks for __builtin__.eval, which"},
        {"hub-load", "asks for torch.hub.load, which"},
        {"conjugate", "asks for torch.ComplexFloatStorage, which"},
        {"protocol-4", "protocol 4, expected 2"},
        {"legacy", "from before PyTorch 1.6; load it with a newer PyTorch"},
        {"script", "is a TorchScript program"},
    };
    for (size_t v = 0; v < N_VERSIONS; v++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct bytes file = golden(versions[v], cases[i].name);
            check_refused(file.data, file.n, QUIRE_ERR_UNSUPPORTED, cases[i].message);
            bytes_release(&file);
        }
}

static const float numbers[] = {1, 2, 3, 4, 5, 6};

/* An archive with one tensor "w" of this storage's size, offset, sizes and strides (-1: the dimension is not there),
 * over six floats. */
static struct bytes with_tensor(int64_t n_storage, int64_t offset, const int64_t dims[3], const int64_t strides[3])
{
    struct bytes p = {0};
    const struct torch_tensor storage = {.data = numbers, .n_bytes = sizeof numbers};
#define ADD(text) bytes_add(&p, text, sizeof(text) - 1)
#define NUMBER(n) (ADD("\x8a\10"), bytes_add_u64(&p, (uint64_t)(n)))
    ADD("\x80\2}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
        "0X\3\0\0\0cpu");
    NUMBER(n_storage);
    ADD("tQ");
    NUMBER(offset);
    ADD("(");
    for (int d = 0; d < 3; d++)
        if (dims[d] >= 0)
            NUMBER(dims[d]);
    ADD("t(");
    for (int d = 0; d < 3; d++)
        if (dims[d] >= 0)
            NUMBER(strides[d]);
    ADD("t\x89}tRs.");
    return torch_archive(p, &storage, 1);
}

static void checks_every_extent(void)
{
    static const struct {
        int64_t n_storage, offset, dims[3], strides[3];
        const char *message; /* NULL: sound */
        bool is_view;
    } cases[] = {
        {6, 0, {6, -1, -1}, {1}, NULL, false},
        {6, 0, {2, 3, -1}, {3, 1}, NULL, false},
        {6, 0, {1, 2, 3}, {INT64_MAX, 3, 1}, NULL, false}, /* a stride of one row says nothing */
        {6, 5, {1, 1, 1}, {9, 9, 9}, NULL, false},
        {5, 4, {-1, -1, -1}, {0}, NULL, false},
        {6, 0, {0, INT64_MAX, INT64_MAX}, {1, 1, 1}, NULL, false},
        {6, INT64_MAX, {0, -1, -1}, {1}, NULL, false},
        {6, 0, {3, 2, -1}, {1, 3}, NULL, true},
        {6, 0, {2, 2, -1}, {3, 1}, NULL, true},
        {6, 0, {INT64_MAX, -1, -1}, {0}, NULL, true}, /* one element, repeated without end, takes no memory */
        {7, 0, {6, -1, -1}, {1}, "storage '0' of tensor 'w' has 24 bytes, expected 28", false},
        {INT64_MAX / 4, 0, {6, -1, -1}, {1}, "has 24 bytes, expected", false},
        {6, 0, {7, -1, -1}, {1}, "reaches to element 7 of storage '0', which has 6", false},
        {5, 0, {6, -1, -1}, {1}, "reaches to element 6 of storage '0', which has 5", false},
        {6, 1, {2, 3, -1}, {3, 1}, "reaches to element 7", false},
        {6, 6, {-1, -1, -1}, {0}, "reaches to element 7", false},
        {6, 0, {2, -1, -1}, {6}, "reaches to element 7", false},
        {6, INT64_MAX, {1, -1, -1}, {1}, "reaches to element 9223372036854775808", false},
        {6, 0, {2, -1, -1}, {INT64_MAX}, "reaches to element 9223372036854775808", false},
        {6, 0, {3, 2, -1}, {INT64_MAX, INT64_MAX}, "overflows", false},
        {6, 0, {1 << 30, 1 << 30, 1 << 30}, {0, 0, 0}, "overflows", false},
        {6, 0, {INT64_MAX, 3, -1}, {3, 1}, "overflows", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        struct tensors tensors = {0};
        struct bytes file = with_tensor(cases[i].n_storage, cases[i].offset, cases[i].dims, cases[i].strides);
        if (cases[i].message) {
            check_refused(file.data, file.n, QUIRE_ERR_FORMAT, cases[i].message);
        } else {
            CHECK_OK(torch_bin_add(&tensors, file.data, file.n, "f", &err));
            CHECK_EQ_INT(tensors.n, 1);
            CHECK_EQ_INT(tensors.n > 0 && tensors.items[0].obstacle, cases[i].is_view);
        }
        tensors_release(&tensors);
        bytes_release(&file);
    }
}

static void refuses_incomplete_archives(void)
{
    static const struct {
        const char *names[5]; /* the first is a pickle's, the others hold "3" */
        quire_status status;
        const char *message;
    } cases[] = {
        {{"a/data.pkl", "a/version", "a/data/0"}, QUIRE_OK, ""},
        {{"data.pkl", "version", "data/0"}, QUIRE_ERR_FORMAT, "without a data.pkl in a folder"},
        {{"a/b/data.pkl", "a/b/version", "a/b/data/0"}, QUIRE_ERR_FORMAT, "without a data.pkl in a folder"},
        {{"a/data.pkl", "b/data.pkl"}, QUIRE_ERR_FORMAT, "has two pickles, 'a/data.pkl' and 'b/data.pkl'"},
        {{"a/data.pkl", "a/data/0"}, QUIRE_ERR_FORMAT, "has no entry 'version'"},
        {{"a/data.pkl", "a/version"}, QUIRE_ERR_FORMAT, "has no storage '0', in which its tensor 'w' lies"},
        {{"a/data.pkl", "a/version", "b/data/0"}, QUIRE_ERR_FORMAT, "has no storage '0'"},
        {{"a/data.pkl", "a/version", "a/data/0", "a/byteorder"}, QUIRE_ERR_UNSUPPORTED, "is '3', expected 'little'"},
        {{"a/data.pkl", "a/version", "a/data/0", "a/constants.pkl"}, QUIRE_ERR_UNSUPPORTED, "TorchScript"},
        {{"../../etc/data.pkl"}, QUIRE_ERR_FORMAT, "without a data.pkl in a folder"},
    };
    static const int64_t dims[] = {0, -1, -1}, strides[] = {0, 0, 0};
    struct bytes whole = with_tensor(0, 0, dims, strides);
    const unsigned char *begin = memmem(whole.data, whole.n, "\x80\2}", 3),
                        *after = memmem(whole.data, whole.n, "tRs.", 4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct zip_writer zip = {0};
        zip_add(&zip, cases[i].names[0], begin, (size_t)(after + 4 - begin));
        for (int k = 1; k < 5 && cases[i].names[k]; k++)
            zip_add(&zip, cases[i].names[k], "3", 1);
        struct bytes file = zip_finish(&zip);
        if (cases[i].status != QUIRE_OK) {
            check_refused(file.data, file.n, cases[i].status, cases[i].message);
        } else {
            quire_error err = {0};
            struct tensors tensors = {0};
            CHECK_OK(torch_bin_add(&tensors, file.data, file.n, "f", &err));
            tensors_release(&tensors);
        }
        bytes_release(&file);
    }
    bytes_release(&whole);
    static const char tar[512] = {[257] = 'u', 's', 't', 'a', 'r'};
    check_refused(tar, sizeof tar, QUIRE_ERR_UNSUPPORTED, "before PyTorch 1.6");
    check_refused("", 0, QUIRE_ERR_FORMAT, "does not begin as a zip archive");
    check_refused("PK\3", 3, QUIRE_ERR_FORMAT, "does not begin as a zip archive");
    check_refused("PK\3\4", 4, QUIRE_ERR_FORMAT, "cut short");
}

/* The same name again takes four bytes of a pickle, and comparing it as many as it has. */
static void has_a_bound_on_names(void)
{
    char name[258] = "";
    const struct torch_tensor tensor = {
        .name = name, .storage = "FloatStorage", .n_dims = 1, .dims = {6}, .data = numbers, .n_bytes = sizeof numbers};
    for (size_t n = 256; n < sizeof name; n++) {
        memset(name, 'n', n);
        struct bytes file = torch_archive(torch_pickle(&tensor, 1), &tensor, 1);
        if (n > 256)
            check_refused(file.data, file.n, QUIRE_ERR_UNSUPPORTED, "name has 257 bytes, expected at most 256");
        else {
            quire_error err = {0};
            struct tensors tensors = {0};
            CHECK_OK(torch_bin_add(&tensors, file.data, file.n, "f", &err));
            tensors_release(&tensors);
        }
        bytes_release(&file);
    }
}

/* One tensor under more names than any model has. */
static void has_a_bound_on_tensors(void)
{
    static const int64_t dims[] = {6, -1, -1}, strides[] = {1, 0, 0};
    struct bytes whole = with_tensor(6, 0, dims, strides), pickle = {0};
    const unsigned char *begin = memmem(whole.data, whole.n, "\x80\2}", 3);
    const unsigned char *after = memmem(whole.data, whole.n, "tRs.", 4);
    const struct torch_tensor storage = {.data = numbers, .n_bytes = sizeof numbers};
    bytes_add(&pickle, begin, (size_t)(after + 2 - begin));
    bytes_add(&pickle, "q\0s", 3);
    for (unsigned i = 0; i < TENSORS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "%08x", i);
        bytes_add(&pickle, "X\10\0\0\0", 5);
        bytes_add(&pickle, name, 8);
        bytes_add(&pickle, "h\0s", 3);
    }
    bytes_add(&pickle, ".", 1);
    struct bytes file = torch_archive(pickle, &storage, 1);
    check_refused(file.data, file.n, QUIRE_ERR_UNSUPPORTED, "262145 tensors, expected at most 262144");
    bytes_release(&file);
    bytes_release(&whole);
}

static void survives_damage(void)
{
    uint64_t random = 20230505;
    struct bytes file = golden("2.15", "views");
    for (int round = 0; round < 10000; round++) {
        quire_error err = {0};
        struct tensors tensors = {0};
        unsigned char *copy = malloc(file.n);
        memcpy(copy, file.data, file.n);
        for (uint64_t k = test_random(&random) % 4 + 1; k > 0; k--)
            copy[test_random(&random) % file.n] = (unsigned char)test_random(&random);
        quire_status status = torch_bin_add(&tensors, copy, file.n, "f", &err);
        CHECK((status == QUIRE_OK) == (err.message[0] == '\0'));
        for (size_t i = 0; i < tensors.n; i++) {
            const unsigned char *data = tensors.items[i].data;
            CHECK(data >= copy && data + tensors.items[i].n_bytes <= copy + file.n);
        }
        tensors_release(&tensors);
        free(copy);
    }
    bytes_release(&file);
}

/* The linker sends allocations here (--wrap); the one that counts down to 0 fails. */
static int allocations_left;

static bool is_out_of_memory(void)
{
    return allocations_left > 0 && --allocations_left == 0;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return is_out_of_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return is_out_of_memory() ? NULL : __real_realloc(p, size);
}

/* Each allocation in turn; nothing leaks (the address sanitizer sees it) and nothing is half done. */
static void memory_fails(void)
{
    struct bytes file = golden("2.15", "many");
    bool has_failed = true;
    int n = 0;
    while (has_failed) {
        quire_error err = {0};
        struct tensors tensors = {0};
        allocations_left = ++n;
        quire_status status = torch_bin_add(&tensors, file.data, file.n, "f", &err);
        has_failed = allocations_left == 0;
        allocations_left = 0;
        CHECK_EQ_INT(status, has_failed ? QUIRE_ERR_NO_MEMORY : QUIRE_OK);
        CHECK((err.message[0] != '\0') == has_failed);
        tensors_release(&tensors);
    }
    CHECK(n > 50);
    bytes_release(&file);
}

static const struct test tests[] = {
    {"reads_what_torch_writes", reads_what_torch_writes},
    {"describes_what_it_cannot_use", describes_what_it_cannot_use},
    {"refuses_what_torch_writes_for_others", refuses_what_torch_writes_for_others},
    {"checks_every_extent", checks_every_extent},
    {"refuses_incomplete_archives", refuses_incomplete_archives},
    {"has_a_bound_on_names", has_a_bound_on_names},
    {"has_a_bound_on_tensors", has_a_bound_on_tensors},
    {"survives_damage", survives_damage},
    {"memory_fails", memory_fails},
};
TEST_MAIN(tests)
