/* Reading in parts gives the bits of reading at once, whatever is appended between the parts; and the peaks that speeds
 * are compared with. */
#include "golden.h"
#include "test.h"

enum { N_TOKENS = 900, N_PARTS = 4, N_NEW = 3 };
static const size_t ends[N_PARTS] = {64, 65, 515, N_TOKENS};

static void check_logits(const quire_model *model, const quire_book *book, const float *want)
{
    const float *got = quire_book_logits(book);
    CHECK(got != NULL);
    if (got)
        CHECK(memcmp(got, want, quire_model_config(model)->vocab_size * sizeof *want) == 0);
}

/* The logits after ids[0..end) and then ids[0..n_more), read at once. */
static void read_at_once(const quire_model *model, const quire_engine_options *opts, const int32_t *ids, size_t end,
                         float *after, float *appended)
{
    size_t n_bytes = quire_model_config(model)->vocab_size * sizeof *after;
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, model, opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    REQUIRE_OK(quire_book_read(book, ids, end, N_NEW, &err));
    memcpy(after, quire_book_logits(book), n_bytes);
    for (size_t i = 0; i < N_NEW; i++)
        REQUIRE_OK(quire_book_append(book, ids[i], &err));
    memcpy(appended, quire_book_logits(book), n_bytes);
    quire_book_close(book);
    quire_engine_close(engine);
}

static void read_in_parts(const quire_engine_options *opts)
{
    quire_model *model = golden_model("random-alibi-16-clip");
    uint32_t vocab_size = quire_model_config(model)->vocab_size;
    int32_t *ids = random_ids(N_TOKENS, vocab_size, 5);
    float *after = calloc(vocab_size, sizeof *after), *appended = calloc(vocab_size, sizeof *appended);
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, model, opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    CHECK_OK(quire_book_begin(book, ids, N_TOKENS, N_NEW, &err));
    for (size_t i = 0; i < N_PARTS; i++) {
        read_at_once(model, opts, ids, ends[i], after, appended);
        CHECK_OK(quire_book_read_to(book, ends[i], &err));
        check_logits(model, book, after);
        for (size_t j = 0; j < N_NEW; j++)
            CHECK_OK(quire_book_append(book, ids[j], &err));
        check_logits(model, book, appended);
        CHECK_EQ_INT(quire_book_n_tokens(book), ends[i] + N_NEW);
    }
    quire_book_close(book);
    quire_engine_close(engine);
    free(after);
    free(appended);
    free(ids);
    quire_model_close(model);
}

static void parts(void)
{
    quire_engine_options opts = quire_engine_defaults();
    read_in_parts(&opts);
    opts.span_tokens = 128;
    opts.chunk_tokens = 50;
    read_in_parts(&opts);
}

static void refusals(void)
{
    char folder[64];
    quire_model *model = golden_model("random-alibi-16-clip");
    int32_t *ids = random_ids(100, quire_model_config(model)->vocab_size, 6);
    quire_engine_options opts = quire_engine_defaults();
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    CHECK_EQ_INT(quire_book_read_to(book, 1, &err), QUIRE_ERR_USAGE);
    CHECK_OK(quire_book_begin(book, ids, 100, 0, &err));
    CHECK_EQ_INT(quire_book_append(book, ids[0], &err), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(quire_book_begin(book, ids, 100, 0, &err), QUIRE_ERR_USAGE);
    CHECK_OK(quire_book_read_to(book, 60, &err));
    CHECK_EQ_INT(quire_book_read_to(book, 60, &err), QUIRE_ERR_USAGE);
    CHECK_EQ_INT(quire_book_read_to(book, 101, &err), QUIRE_ERR_USAGE);
    quire_error_clear(&err);
    quire_engine_cancel(engine);
    CHECK_EQ_INT(quire_book_read_to(book, 90, &err), QUIRE_ERR_CANCELLED);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_book_read_to(book, 100, &err), QUIRE_ERR_USAGE);
    CHECK(strstr(err.message, "open another one") != NULL);
    quire_error_clear(&err);
    quire_book_close(book);
    quire_engine_close(engine);

    make_folder(folder);
    opts.store_path = folder;
    REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    CHECK_OK(quire_book_begin(book, ids, 100, 0, &err));
    CHECK_EQ_INT(quire_book_read_to(book, 60, &err), QUIRE_ERR_USAGE);
    CHECK_OK(quire_book_read_to(book, 100, &err));
    quire_book_close(book);
    quire_engine_close(engine);
    remove_folder(folder);
    free(ids);
    quire_model_close(model);
}

/* A peak is only raised, and a table has one. */
static void peaks(void)
{
    quire_peaks peaks = {0};
    quire_error err = {0};
    CHECK_OK(quire_peaks_measure_units(&peaks, "base", 1, &err));
    CHECK_EQ_INT(peaks.n_units, 1);
    CHECK(quire_peaks_flops(&peaks, "base") > 0);
    CHECK(quire_peaks_flops(&peaks, "avx2") == 0);
    peaks.units[0].flops = peaks.memory_read = peaks.disk_write = 1e30;
    CHECK_OK(quire_peaks_measure_units(&peaks, "base", 1, &err));
    CHECK_OK(quire_peaks_measure_memory(&peaks, 1, 1 << 20, &err));
    CHECK_OK(quire_peaks_measure_disk(&peaks, NULL, &err));
    CHECK_EQ_INT(peaks.n_units, 1);
    CHECK(quire_peaks_flops(&peaks, "base") == 1e30);
    CHECK(peaks.memory_read == 1e30 && peaks.disk_write == 1e30 && peaks.disk_read > 0);
    CHECK_EQ_INT(quire_peaks_measure_units(&peaks, "abacus", 1, &err), QUIRE_ERR_UNSUPPORTED);
    quire_error_clear(&err);
    CHECK_EQ_INT(quire_peaks_measure_disk(&peaks, "/nonexistent", &err), QUIRE_ERR_IO);
    CHECK(strstr(err.message, "/nonexistent") != NULL);
}

static const struct test tests[] = {{"parts", parts}, {"refusals", refusals}, {"peaks", peaks}};
TEST_MAIN(tests)
