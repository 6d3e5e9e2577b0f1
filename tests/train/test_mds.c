/* MDS shards: what is written reads back; what an index or a shard says wrongly is refused. */
#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "quire/shards.h"
#include "run_case.h"
#include "test.h"
#include "train/corpus.h"
#include "train/mds.h"

struct seen {
    size_t n;
    uint64_t n_bytes;
    int64_t sum;
};

static quire_status see(void *user, const struct corpus_document *document, quire_error *err)
{
    struct seen *seen = user;
    char name[32];
    (void)err;
    snprintf(name, sizeof name, "%06zu", seen->n);
    CHECK_EQ_STR(document->name, name);
    seen->n++;
    seen->n_bytes += document->n_bytes;
    for (size_t i = 0; i < document->n_bytes; i++)
        seen->sum += (int64_t)(i + 1) * (unsigned char)document->text[i];
    for (size_t i = 0; i < document->n_ids; i++)
        seen->sum += (int64_t)(i + 1) * document->ids[i];
    return QUIRE_OK;
}

static quire_status walk(const char *folder, struct seen *seen, quire_error *err)
{
    *seen = (struct seen){0};
    *err = (quire_error){0};
    return corpus_walk(folder, see, seen, err);
}

/* Texts of 0, 7, 14, ... bytes; gives the sum that see() should come to. */
static int64_t write_texts(const char *folder, bool compresses, size_t n)
{
    quire_error err = {0};
    struct mds_writer *writer;
    struct mds_write_options options = {
        .column = "text", .encoding = "str", .size_limit = 1000, .compresses = compresses};
    int64_t sum = 0;
    REQUIRE_OK(mds_writer_open(&writer, folder, &options, &err));
    for (size_t i = 0; i < n; i++) {
        char text[256];
        size_t size = (i * 7) % sizeof text;
        for (size_t j = 0; j < size; j++) {
            text[j] = (char)('a' + (i + j) % 26);
            sum += (int64_t)(j + 1) * text[j];
        }
        REQUIRE_OK(mds_writer_add(writer, text, size, &err));
    }
    REQUIRE_OK(mds_writer_finish(writer, &err));
    mds_writer_close(writer);
    return sum;
}

static bool is_gone;

static int open_where_it_is(const char *path, int flags, mode_t mode)
{
    if (!is_gone)
        return sys_real.open(path, flags, mode);
    errno = ENOSPC;
    return -1;
}

/* A shard that could not be written is no part of the index; its samples are in the one that the next call writes. */
static void what_could_not_be_written_is_written_later(void)
{
    quire_error err = {0};
    struct mds_writer *writer;
    struct mds_write_options options = {.column = "text", .encoding = "str", .size_limit = 1000};
    const char *folder = case_path("later"), *shard = case_path("later/shard.00000.mds");
    REQUIRE_OK(mds_writer_open(&writer, folder, &options, &err));
    REQUIRE_OK(mds_writer_add(writer, "once", 4, &err));
    sys.open = open_where_it_is;
    is_gone = true;
    CHECK_EQ_INT(mds_writer_finish(writer, &err), QUIRE_ERR_NO_SPACE);
    quire_error_clear(&err);
    is_gone = false;
    CHECK_OK(mds_writer_finish(writer, &err));
    sys = sys_real;
    mds_writer_close(writer);
    CHECK(sys_exists(shard));
    json_t *index = json_load_file(case_path("later/index.json"), 0, NULL), *shards = json_object_get(index, "shards");
    CHECK_EQ_INT(json_array_size(shards), 1);
    CHECK_EQ_INT(json_integer_value(json_object_get(json_array_get(shards, 0), "samples")), 1);
    json_decref(index);
}

static void texts_come_back(void)
{
    quire_error err;
    struct seen seen;
    for (int compresses = 0; compresses < 2; compresses++) {
        const char *folder = case_path("texts-%d", compresses);
        int64_t sum = write_texts(folder, compresses, 40);
        CHECK_OK(walk(folder, &seen, &err));
        CHECK_EQ_INT(seen.n, 40);
        CHECK_EQ_INT(seen.sum, sum);
        CHECK_EQ_INT(access(case_path("texts-%d/shard.00001.mds%s", compresses, compresses ? ".zstd" : ""), F_OK), 0);
        struct mds_writer *writer;
        struct mds_write_options options = {.column = "text", .encoding = "str"};
        CHECK_EQ_INT(mds_writer_open(&writer, folder, &options, &err), QUIRE_ERR_USAGE);
    }
}

static void tokens_come_back_in_every_encoding(void)
{
    static const struct {
        const char *encoding;
        unsigned char bytes[64];
        size_t n;
        int64_t sum;
    } cases[] = {
        {"bytes", {5, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 0, 0, 0, 0}, 16, 5 + 2 * 262},
        {"ndarray:int32", {1 << 2, 2, 5, 0, 0, 0, 6, 1, 0, 0}, 10, 5 + 2 * 262},
        {"ndarray:uint16", {1 << 2, 2, 5, 0, 6, 1}, 6, 5 + 2 * 262},
        {"ndarray:int64:1", {5, 0, 0, 0, 0, 0, 0, 0}, 8, 5},
        {"ndarray", {33, 1 << 2 | 1, 2, 0, 5, 0, 0, 0, 6, 1, 0, 0}, 12, 5 + 2 * 262},
    };
    quire_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mds_value value = {cases[i].bytes, cases[i].n};
        int32_t *out = NULL;
        size_t n = 0;
        int64_t sum = 0;
        err = (quire_error){0};
        CHECK_OK(mds_value_ids(&out, &n, value, cases[i].encoding, "here", &err));
        for (size_t j = 0; j < n; j++)
            sum += (int64_t)(j + 1) * out[j];
        CHECK_EQ_INT(sum, cases[i].sum);
        free(out);
    }
}

static void arrays_that_hold_no_ids_are_refused(void)
{
    static const struct {
        const char *encoding;
        unsigned char bytes[16];
        size_t n;
        const char *message;
    } cases[] = {
        {"bytes", {1, 2, 3}, 3, "no array of int64"},
        {"bytes", {255, 255, 255, 255, 255, 255, 255, 255}, 8, "no token id"},
        {"ndarray:float32", {1 << 2, 1, 0, 0, 0, 0}, 6, "something else than whole numbers"},
        {"ndarray", {34, 1 << 2, 1, 0, 0, 0, 0}, 7, "something else than whole numbers"},
        {"ndarray", {0}, 0, "something else than whole numbers"},
        {"ndarray:int32", {2 << 2, 1, 1, 0, 0, 0, 0}, 7, "2 dimensions"},
        {"ndarray:int32", {1 << 2, 1, 0, 0, 0}, 5, "3 bytes, expected 1 numbers of 4"},
        {"ndarray:int32", {1 << 2 | 3, 1, 0, 0}, 4, "cut short"},
        {"ndarray:int64:2", {5, 0, 0, 0, 0, 0, 0, 0}, 8, "8 bytes, expected 2 numbers of 8"},
        {"ndarray:int16:2,1", {5, 0, 6, 0}, 4, "the shape '2,1'"},
        {"ndarray:int16:", {5, 0, 6, 0}, 4, "the shape ''"},
        {"ndarray:int32", {0}, 0, "without a shape"},
        {"json", {0}, 1, "in the encoding 'json'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        int32_t *out = NULL;
        size_t n;
        CHECK(mds_value_ids(&out, &n, (struct mds_value){cases[i].bytes, cases[i].n}, cases[i].encoding, "here",
                            &err) != QUIRE_OK);
        CHECK_MESSAGE(err, cases[i].message);
        CHECK(out == NULL);
    }
}

/* The index with one piece of text replaced by another. */
static void edit_index(const char *folder, const char *from, const char *to)
{
    size_t n;
    char path[600];
    snprintf(path, sizeof path, "%s/index.json", folder);
    char *text = (char *)case_read(path, &n), *edited = malloc(n + 1000);
    text[n] = '\0';
    char *at = strstr(text, from);
    if (!at) {
        fprintf(stderr, "'%s' is not in %s\n", from, text);
        exit(1);
    }
    snprintf(edited, n + 1000, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    case_write_text(path, edited);
    free(text);
    free(edited);
}

static void hostile_indexes_are_refused(void)
{
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"shard.00000.mds\"", "\"../shard.00000.mds\"", "the name of a file in the same folder"},
        {"\"shard.00000.mds\"", "\"/etc/passwd\"", "the name of a file in the same folder"},
        {"\"shard.00000.mds\"", "17", "a text"},
        {"\"shard.00000.mds\"", "\"absent\"", "cannot open"},
        {"\"samples\": ", "\"samples\": 1", "samples"},
        {"\"samples\": ", "\"samples\": -", "a whole number"},
        {"\"bytes\": ", "\"bytes\": 99999999999", "below 2^32"},
        {"\"bytes\": ", "\"bytes\": 1", "its index says"},
        {"\"column_sizes\": [null]", "\"column_sizes\": []", "column_encodings"},
        {"\"column_sizes\": [null]", "\"column_sizes\": [3]", "do not fill"},
        {"\"column_sizes\": [null]", "\"column_sizes\": [4294967295]", "do not fill"},
        {"\"format\": \"mds\"", "\"format\": \"csv\"", "this build reads mds"},
        {"\"column_names\": [\"text\"]", "\"column_names\": [\"image\"]", "expected 'tokens' or 'text'"},
        {"\"xxh64\": \"", "\"xxh64\": \"0", "is damaged"},
        {"\"shards\"", "\"shard\"", "no list"},
        {"{", "[", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err;
        struct seen seen;
        const char *folder = case_path("hostile-%zu", i);
        write_texts(folder, false, 5);
        edit_index(folder, cases[i].from, cases[i].to);
        CHECK(walk(folder, &seen, &err) != QUIRE_OK);
        CHECK_MESSAGE(err, cases[i].message);
    }
}

/* Every byte of a shard without hashes, changed: what comes out is refused or lies inside of the file (the sanitizers
 * would tell), and what the hashes of another cover is found. */
static void damaged_shards_are_refused(void)
{
    quire_error err = {0};
    struct mds_index index;
    struct mds_reader reader;
    size_t n, n_found = 0;
    const char *folder = case_path("damaged");
    write_texts(folder, false, 5);
    char *path = strdup(case_path("damaged/shard.00000.mds"));
    unsigned char *good = case_read(path, &n), *bytes = malloc(n);
    REQUIRE_OK(mds_index_open(&index, folder, &err));
    for (size_t i = 0; i < n; i++) {
        struct mds_value value;
        memcpy(bytes, good, n);
        bytes[i] ^= 0x81;
        err = (quire_error){0};
        if (mds_reader_on(&reader, &index.shards[0], bytes, n, "shard", &err) == QUIRE_OK) {
            for (uint32_t s = 0; s < 5; s++)
                (void)mds_reader_value(&reader, s, 0, &value, &err);
            mds_reader_close(&reader);
        }
        if (i % 16 == 0) {
            case_write(path, bytes, n);
            err = (quire_error){0};
            CHECK_EQ_INT(mds_reader_open(&reader, &index, 0, &err), QUIRE_ERR_FORMAT);
        }
        n_found++;
    }
    for (size_t cut = 0; cut < n; cut += 3) {
        err = (quire_error){0};
        if (mds_reader_on(&reader, &index.shards[0], good, cut, "shard", &err) == QUIRE_OK)
            mds_reader_close(&reader);
    }
    CHECK(n_found > 100);
    mds_index_release(&index);
    free(good);
    free(bytes);
    free(path);
}

/* Somebody writes over a shard's table when it has been checked: samples outside of the file are not read. */
static void a_shard_overwritten_in_place_is_read_inside_its_bytes(void)
{
    quire_error err = {0};
    struct mds_index index;
    struct mds_reader reader;
    size_t n;
    const char *folder = case_path("overwritten");
    write_texts(folder, false, 5);
    unsigned char *bytes = case_read(case_path("overwritten/shard.00000.mds"), &n);
    REQUIRE_OK(mds_index_open(&index, folder, &err));
    REQUIRE_OK(mds_reader_on(&reader, &index.shards[0], bytes, n, "shard", &err));
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t offset = 0x10000000u * (i + 1);
        memcpy(bytes + 4 + 4 * i, &offset, sizeof offset);
    }
    for (uint32_t s = 0; s < 5; s++) {
        struct mds_value value = {0};
        err = (quire_error){0};
        CHECK_EQ_INT(mds_reader_value(&reader, s, 0, &value, &err), QUIRE_ERR_FORMAT);
        CHECK_MESSAGE(err, "has changed since it was opened");
    }
    mds_reader_close(&reader);
    mds_index_release(&index);
    free(bytes);
}

static void nothing_follows_the_index(void)
{
    const int32_t ids[] = {5, 6, 7};
    quire_error err = {0};
    quire_shards *shards = NULL;
    struct seen seen;
    REQUIRE_OK(quire_shards_open(&shards, case_path("finished"), false, &err));
    CHECK_OK(quire_shards_add(shards, ids, 3, &err));
    CHECK_OK(quire_shards_finish(shards, &err));
    CHECK_EQ_INT(quire_shards_add(shards, ids, 3, NULL), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(quire_shards_finish(shards, NULL), QUIRE_ERR_USAGE);
    quire_shards_close(shards);
    CHECK_OK(walk(case_path("finished"), &seen, &err));
    CHECK_EQ_INT(seen.n, 1);
}

static const struct test tests[] = {
    {"nothing follows the index", nothing_follows_the_index},
    {"what could not be written is written later", what_could_not_be_written_is_written_later},
    {"texts come back", texts_come_back},
    {"tokens come back in every encoding", tokens_come_back_in_every_encoding},
    {"arrays that hold no ids are refused", arrays_that_hold_no_ids_are_refused},
    {"hostile indexes are refused", hostile_indexes_are_refused},
    {"damaged shards are refused", damaged_shards_are_refused},
    {"a shard overwritten in place is read inside its bytes", a_shard_overwritten_in_place_is_read_inside_its_bytes},
};
TEST_MAIN(tests)
