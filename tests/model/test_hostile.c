/* Files that ask for more than they are worth: each is refused with the right words, or taken, in no more memory than
 * its size and a constant. The classes are those of published reports on parsers of these formats. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "model/model.h"
#include "model/tensors.h"
#include "quire/tokenizer.h"
#include "test.h"

/* What opening may take besides the file: man/quire-models(7) has the parts. */
#define CONSTANT_BYTES ((size_t)512 << 20)

/* What a file that is refused for a number that it states may take besides: nothing was made for that number yet. */
#define SMALL_BYTES ((size_t)16 << 20)

static char *folder;

/* Lets this process have so many more bytes of addresses. A sanitizer's memory is not to be limited so. */
static void limit_memory(size_t n_bytes)
{
#ifndef TEST_SANITIZED
    unsigned long n_pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%lu", &n_pages) == 1);
    if (file)
        fclose(file);
    size_t limit = n_pages * (size_t)sysconf(_SC_PAGESIZE) + n_bytes;
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
#else
    (void)n_bytes;
#endif
}

enum how { AS_MODEL, AS_TOKENIZER };

static void open_and_check(const char *path, enum how how, size_t n_bytes, const char *message)
{
    quire_error err = {0};
    quire_model *model = NULL;
    quire_tokenizer *tokenizer = NULL;
    limit_memory(n_bytes);
    quire_status status =
        how == AS_MODEL ? quire_model_open(&model, path, &err) : quire_tokenizer_open_path(&tokenizer, path, &err);
    if (message ? status == QUIRE_OK || !strstr(err.message, message) : status != QUIRE_OK) {
        test_n_failed_checks++;
        fprintf(stderr, "%d: \"%s\", expected \"%s\"\n", (int)status, err.message, message ? message : "");
    }
    quire_model_close(model);
    quire_tokenizer_close(tokenizer);
}

/* In a process of its own, whose memory is limited. message: NULL where the file is to be taken. */
static void check_open(const char *path, enum how how, size_t n_bytes, const char *message)
{
    int status = -1;
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
        test_n_failed_checks = 0;
        open_and_check(path, how, n_bytes, message);
        fflush(stderr);
        _exit(test_n_failed_checks > 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ_INT(status, 0);
}

static void check_bytes(const char *name, struct bytes *file, enum how how, size_t n_more, const char *message)
{
    check_open(file_write(folder, name, file->data, file->n), how, file->n + n_more, message);
    bytes_release(file);
}

/* --- GGUF --------------------------------------------------------------------------------------------------------- */

static struct bytes header(uint64_t n_tensors, uint64_t n_pairs)
{
    struct bytes file = {0};
    bytes_add(&file, "GGUF\3\0\0\0", 8);
    bytes_add_u64(&file, n_tensors);
    bytes_add_u64(&file, n_pairs);
    return file;
}

static void add_key(struct bytes *file, const char *key, uint32_t type)
{
    bytes_add_string(file, key);
    bytes_add_u32(file, type);
}

static void add_array(struct bytes *file, const char *key, uint32_t type, uint64_t n)
{
    add_key(file, key, 9);
    bytes_add_u32(file, type);
    bytes_add_u64(file, n);
}

static void add_tensor(struct bytes *file, const char *name, uint64_t dim_0, uint64_t dim_1, uint32_t type,
                       uint64_t offset)
{
    bytes_add_string(file, name);
    bytes_add_u32(file, 2);
    bytes_add_u64(file, dim_0);
    bytes_add_u64(file, dim_1);
    bytes_add_u32(file, type);
    bytes_add_u64(file, offset);
}

/* The smallest of files, the largest of claims. */
static void gguf_numbers_that_ask_for_terabytes(void)
{
    static const uint64_t counts[] = {(uint64_t)1 << 40, (uint64_t)1 << 61, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct bytes file = header(counts[i], 0);
        check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, "more than its 24 bytes can hold");
        file = header(0, counts[i]);
        check_bytes("f.gguf", &file, AS_TOKENIZER, SMALL_BYTES, "more than its 24 bytes can hold");
        file = header(0, 1), bytes_add_u64(&file, counts[i]), bytes_add(&file, "key", 3);
        bytes_add(&file, "01234567890123", 14);
        check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, "a key at byte 24 claims");
        file = header(0, 1), add_key(&file, "general.name", 8), bytes_add_u64(&file, counts[i]);
        check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, "a string value at byte");
        for (uint32_t type = 0; type < 13; type++) {
            file = header(0, 1), add_array(&file, "tokenizer.ggml.tokens", type, counts[i]);
            CHECK(file.n < 160);
            check_bytes("f.gguf", &file, AS_TOKENIZER, SMALL_BYTES,
                        type == 8   ? "strings of at least 8 bytes"
                        : type == 9 ? "is an array of type 9"
                                    : "elements");
        }
        file = header(0, 1), add_array(&file, "tokenizer.ggml.tokens", 8, 1), bytes_add_u64(&file, counts[i]);
        check_bytes("f.gguf", &file, AS_TOKENIZER, SMALL_BYTES, "a string of an array at byte");
    }
}

static void gguf_tensors_that_ask_for_terabytes(void)
{
    static const struct {
        uint64_t dim_0, dim_1;
        uint32_t type;
        uint64_t offset;
        const char *message;
    } cases[] = {
        {((uint64_t)1 << 42) + 1, 1, 0, 0, "cut short"},
        {((uint64_t)1 << 42) + 1, ((uint64_t)1 << 42) + 1, 0, 0, "overflows"},
        {(uint64_t)1 << 32, (uint64_t)1 << 32, 0, 0, "overflows"},
        {(uint64_t)1 << 63, 2, 0, 0, "overflows"},
        {(uint64_t)1 << 62, 1, 1, 0, "cut short"},
        {UINT64_MAX, UINT64_MAX, 0, 0, "overflows"},
        {UINT64_MAX - 31, 1, 8, 0, "overflows"},
        {32, 1, 0, UINT64_MAX - 31, "is at offset 18446744073709551584 of the data, expected 0"},
        {32, 1, 0, 32, "is at offset 32 of the data, expected 0"},
        {16, 2, 8, 0, "rows of 16 numbers, expected a multiple of 32"},
        {32, 1, 0xFFFFFFFF, 0, "is of type 4294967295"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes file = header(1, 0);
        add_tensor(&file, "t", cases[i].dim_0, cases[i].dim_1, cases[i].type, cases[i].offset);
        bytes_pad(&file, 32);
        bytes_add(&file, "0123456789abcdef", 16);
        check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, cases[i].message);
    }
    struct bytes file = header(2, 0);
    add_tensor(&file, "a", 4, 1, 0, 0), add_tensor(&file, "b", 4, 1, 0, 0);
    bytes_pad(&file, 32), bytes_add(&file, "0123456789abcdef", 16);
    check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, "tensor 'b' is at offset 0 of the data, expected 32");
}

static void gguf_alignments(void)
{
    static const struct {
        uint32_t type;
        uint64_t value;
        const char *message;
    } cases[] = {
        {4, 0, "general.alignment is 0, expected a power of two"},
        {4, 3, "general.alignment is 3, expected a power of two"},
        {4, UINT32_MAX, "general.alignment is 4294967295, expected a power of two"},
        {4, (uint64_t)1 << 31, "do not end within"},
        {10, (uint64_t)1 << 63, "general.alignment"},
        {10, (uint64_t)1 << 32, "general.alignment"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes file = header(1, 1);
        add_key(&file, "general.alignment", cases[i].type);
        bytes_add(&file, &cases[i].value, cases[i].type == 4 ? 4 : 8);
        add_tensor(&file, "t", 4, 1, 0, 0);
        bytes_pad(&file, 32), bytes_add(&file, "0123456789abcdef", 16);
        check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, cases[i].message);
    }
}

/* As many pairs, or tensors, as a file can have, and one more. */
static void gguf_directories_of_the_largest_size(void)
{
    for (uint32_t more = 0; more < 2; more++) {
        struct bytes file = header(0, 65536 + more);
        for (uint32_t i = 0; i < 65536 + more; i++) {
            char key[16];
            snprintf(key, sizeof key, "%x", i);
            add_key(&file, key, 7), bytes_add(&file, "\1", 1);
        }
        check_bytes("f.gguf", &file, AS_MODEL, SMALL_BYTES, more ? "has 65537 key-value pairs" : "the architecture is");
        file = header(TENSORS_MAX + more, 0);
        for (uint32_t i = 0; i < TENSORS_MAX + more; i++) {
            char name[16];
            snprintf(name, sizeof name, "%x", i);
            add_tensor(&file, name, 0, 1, 0, 0);
        }
        bytes_pad(&file, 32);
        check_bytes("f.gguf", &file, AS_MODEL, 4 * SMALL_BYTES, more ? "and 262145 tensors" : "the architecture is");
    }
}

/* Arrays of the vocabulary that are of another type, or length, than what is read from them. */
static void gguf_vocabularies(void)
{
    static const struct {
        const char *model;
        uint32_t tokens, types, others; /* of the elements of each array */
        uint64_t n_types;
        const char *message;
    } cases[] = {
        {"gpt2", 4, 5, 8, 2, "tokenizer.ggml.tokens"},      {"gpt2", 8, 0, 8, 2, "tokenizer.ggml.token_type"},
        {"gpt2", 8, 12, 8, 2, "tokenizer.ggml.token_type"}, {"gpt2", 8, 8, 8, 2, "tokenizer.ggml.token_type"},
        {"gpt2", 8, 5, 8, 1, "expected as many as in"},     {"gpt2", 8, 5, 8, 3, "expected as many as in"},
        {"gpt2", 8, 5, 10, 2, "tokenizer.ggml.merges"},     {"llama", 8, 5, 12, 2, "tokenizer.ggml.scores"},
        {"t5", 8, 5, 8, 2, "tokenizer.ggml.scores"},        {"gpt2", 8, 5, 8, 2, "which is not in the vocabulary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes file = header(0, 4);
        const uint32_t types[] = {cases[i].tokens, cases[i].types, cases[i].others};
        const uint64_t counts[] = {2, cases[i].n_types, 2};
        const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                    cases[i].model[0] == 'g' ? "tokenizer.ggml.merges" : "tokenizer.ggml.scores"};
        add_key(&file, "tokenizer.ggml.model", 8), bytes_add_string(&file, cases[i].model);
        for (int k = 0; k < 3; k++) {
            static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
            add_array(&file, keys[k], types[k], counts[k]);
            for (uint64_t n = 0; n < counts[k]; n++) {
                if (types[k] == 8)
                    bytes_add_string(&file, k == 2 ? "no token" : n ? "a" : "b");
                else
                    bytes_add(&file, "\1\0\0\0\0\0\0", sizes[types[k]]);
            }
        }
        check_bytes("f.gguf", &file, AS_TOKENIZER, 2 * SMALL_BYTES, cases[i].message);
    }
}

/* A token that is almost the whole file, and says so truly. */
static void gguf_a_token_of_many_bytes(void)
{
    enum { N = 48 << 20 };
    struct bytes file = header(0, 4);
    char *text = malloc(N);
    CHECK(text != NULL);
    memset(text, 'x', N);
    add_key(&file, "tokenizer.ggml.model", 8), bytes_add_string(&file, "gpt2");
    add_array(&file, "tokenizer.ggml.merges", 8, 0);
    add_array(&file, "tokenizer.ggml.token_type", 5, 1), bytes_add_u32(&file, 1);
    add_array(&file, "tokenizer.ggml.tokens", 8, 1), bytes_add_u64(&file, N), bytes_add(&file, text, N);
    check_bytes("f.gguf", &file, AS_TOKENIZER, N + SMALL_BYTES, "no token for the byte");
    free(text);
}

/* --- safetensors -------------------------------------------------------------------------------------------------- */

static void write_config(const char *text)
{
    file_write(folder, "config.json", text, strlen(text));
}

static void write_sound_config(void)
{
    write_config("{\"architectures\": [\"MPTForCausalLM\"], \"model_type\": \"mpt\", \"d_model\": 32, \"n_heads\": 4,"
                 "\"n_layers\": 1, \"max_seq_len\": 64, \"vocab_size\": 64}");
}

static void check_safetensors(uint64_t n_header, const char *text, size_t n, size_t n_more, const char *message)
{
    struct bytes file = {0};
    bytes_add_u64(&file, n_header);
    bytes_add(&file, text, n);
    file_write(folder, "model.safetensors", file.data, file.n);
    check_open(folder, AS_MODEL, file.n + n_more, message);
    bytes_release(&file);
}

static void safetensors_headers(void)
{
    static const struct {
        const char *shape, *offsets, *message;
    } cases[] = {
        {"4294967296,4294967296", "0,16", "overflows"},
        {"9223372036854775807,4", "0,16", "overflows"},
        {"4611686018427387904", "0,16", "overflows"},
        {"18446744073709551616", "0,16", "too big integer"},
        {"-1", "0,16", "whole numbers from 0 up"},
        {"4.0", "0,16", "whole numbers from 0 up"},
        {"\"4\"", "0,16", "whole numbers from 0 up"},
        {"1099511627776", "0,4398046511104", "cut short"},
        {"4", "16,0", "the first not above the second"},
        {"4", "-16,0", "two whole numbers"},
        {"4", "9223372036854775791,9223372036854775807", "ends at byte 9223372036854775807"},
        {"4", "0", "two whole numbers"},
        {"4", "4,20", "leave a hole"},
    };
    write_sound_config();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        int n = snprintf(text, sizeof text, "{\"t\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%s]}}",
                         cases[i].shape, cases[i].offsets);
        memset(text + n, 0, 20); /* the data */
        check_safetensors((uint64_t)n, text, (size_t)n + 20, SMALL_BYTES, cases[i].message);
    }
    static const uint64_t lengths[] = {100000001, (uint64_t)1 << 40, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        check_safetensors(lengths[i], "{}", 2, SMALL_BYTES, "expected at most 100000000");
    check_safetensors(3, "{}", 2, SMALL_BYTES, "its header has 3 bytes, but the file ends after 2");
    static const char overlap[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},"
                                  "\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[4,12]}}            ";
    check_safetensors(sizeof overlap - 13, overlap, sizeof overlap - 1, SMALL_BYTES, "tensors overlap");
    static const char twice[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                                "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    check_safetensors(sizeof twice - 1, twice, sizeof twice - 1, SMALL_BYTES, "duplicate object key");
}

/* `n` times `part`, with `before` in front and `behind` at the end. */
static struct bytes repeated(const char *before, const char *part, size_t n, const char *behind)
{
    struct bytes text = {0};
    bytes_add(&text, before, strlen(before));
    for (size_t i = 0; i < n; i++)
        bytes_add(&text, part, strlen(part));
    bytes_add(&text, behind, strlen(behind));
    return text;
}

/* Every kind of JSON file: nested without end, and with as many values as are taken. */
static void json_of_the_largest_size(void)
{
    static const char *const names[] = {"tokenizer.json", "config.json"};
    for (int i = 0; i < 2; i++) {
        struct bytes deep = repeated("{\"a\":", "[", 100000, ""), many = repeated("{\"a\":[0", ",0", 5 << 20, "]}");
        struct bytes most = repeated("{\"a\":[0", ",0", (1 << 20) - 10, "]}");
        const char *path = file_write(folder, names[i], deep.data, deep.n);
        check_open(i ? folder : path, i ? AS_MODEL : AS_TOKENIZER, SMALL_BYTES + deep.n, "maximum parsing depth");
        path = file_write(folder, names[i], many.data, many.n);
        check_open(i ? folder : path, i ? AS_MODEL : AS_TOKENIZER, SMALL_BYTES + 2 * many.n,
                   "objects and arrays and up to");
        path = file_write(folder, names[i], most.data, most.n);
        check_open(i ? folder : path, i ? AS_MODEL : AS_TOKENIZER, CONSTANT_BYTES + most.n,
                   i ? "config.json" : "model is missing");
        bytes_release(&deep), bytes_release(&many), bytes_release(&most);
    }
    write_sound_config();
    struct bytes deep = repeated("{\"a\":", "[", 100000, "");
    check_safetensors(deep.n, (char *)deep.data, deep.n, SMALL_BYTES + deep.n, "maximum parsing depth");
    bytes_release(&deep);
    struct bytes many = repeated("{\"a\":[0", ",0", 5 << 20, "]}");
    check_safetensors(many.n, (char *)many.data, many.n, SMALL_BYTES + many.n, "objects and arrays and up to");
    bytes_release(&many);
}

static void configurations_that_ask_for_terabytes(void)
{
    static const char *const fields[] = {"d_model", "n_heads", "n_layers", "max_seq_len", "vocab_size"};
    static const char *const values[] = {"4294967296", "9223372036854775807", "-1", "1e300", "2.5", "\"32\"", "[32]"};
    write_sound_config();
    file_write(folder, "model.safetensors", "\x02\0\0\0\0\0\0\0{}", 10);
    check_open(folder, AS_MODEL, SMALL_BYTES, "transformer.wte.weight");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            char text[400];
            int n = snprintf(text, sizeof text, "{\"architectures\": [\"MPTForCausalLM\"], \"model_type\": \"mpt\"");
            for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
                n += snprintf(text + n, sizeof text - (size_t)n, ", \"%s\": %s", fields[f], f == i ? values[k] : "32");
            snprintf(text + n, sizeof text - (size_t)n, "}");
            write_config(text);
            check_open(folder, AS_MODEL, SMALL_BYTES, fields[i]);
        }
    /* Sizes that are allowed one by one: nothing is made before the weights are seen not to have them. */
    write_config("{\"architectures\": [\"MPTForCausalLM\"], \"model_type\": \"mpt\", \"d_model\": 1048576,"
                 "\"n_heads\": 1048576, \"n_layers\": 16384, \"max_seq_len\": 2147483647, \"vocab_size\": 16777216}");
    check_open(folder, AS_MODEL, SMALL_BYTES, "transformer.wte.weight");
}

/* --- tokenizer.json ----------------------------------------------------------------------------------------------- */

static void ids_that_ask_for_gigabytes(void)
{
    static const struct {
        const char *id, *message;
    } cases[] = {
        {"2147483648", "expected 0 to 2097151"}, {"9223372036854775807", "expected 0 to 2097151"},
        {"2097152", "expected 0 to 2097151"},    {"-1", "expected 0 to 2097151"},
        {"2097151", "no token for the byte"}, /* allowed: a table of 64 MB */
        {"1.5", "an id in model vocab"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        int n = snprintf(text, sizeof text,
                         "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":"
                         "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":%s},\"merges\":[]}}",
                         cases[i].id);
        const char *path = file_write(folder, "tokenizer.json", text, (size_t)n);
        check_open(path, AS_TOKENIZER, i == 4 ? 128u << 20 : SMALL_BYTES, cases[i].message);
    }
}

static void make_folder(void)
{
    folder = folder_make();
}

static void remove_folder(void)
{
    folder_remove(folder);
}

static const struct test tests[] = {
    {"make_folder", make_folder},
    {"gguf_numbers_that_ask_for_terabytes", gguf_numbers_that_ask_for_terabytes},
    {"gguf_tensors_that_ask_for_terabytes", gguf_tensors_that_ask_for_terabytes},
    {"gguf_alignments", gguf_alignments},
    {"gguf_directories_of_the_largest_size", gguf_directories_of_the_largest_size},
    {"gguf_vocabularies", gguf_vocabularies},
    {"gguf_a_token_of_many_bytes", gguf_a_token_of_many_bytes},
    {"safetensors_headers", safetensors_headers},
    {"json_of_the_largest_size", json_of_the_largest_size},
    {"configurations_that_ask_for_terabytes", configurations_that_ask_for_terabytes},
    {"ids_that_ask_for_gigabytes", ids_that_ask_for_gigabytes},
    {"remove_folder", remove_folder},
};
TEST_MAIN(tests)
