/* Token files, the split, the order of samples, validation windows. */
#include <unistd.h>

#include "base/sys.h"
#include "run_case.h"
#include "test.h"
#include "train/token_set.h"

enum { N_DOCUMENTS = 9, SEQ_LEN = 16 };

static quire_tokenizer *open_tokenizer(void)
{
    quire_error err = {0};
    quire_tokenizer *tokenizer;
    REQUIRE_OK(quire_tokenizer_open_path(&tokenizer, QUIRE_SOURCE_DIR "/tests/tokenizer/data/tokenizer.json", &err));
    return tokenizer;
}

static void open_file(struct token_file *file, bool *is_new, const quire_tokenizer *tokenizer)
{
    quire_error err = {0};
    if (!sys_exists(case_path("corpus")))
        case_make_corpus(case_path("corpus"), N_DOCUMENTS, 60, 11);
    REQUIRE_OK(token_file_open(file, is_new, case_path("corpus"), case_path("cache"), tokenizer, 1024, NULL, &err));
}

static void a_token_file_holds_every_document(void)
{
    quire_error err = {0};
    struct token_file file;
    bool is_new;
    quire_tokenizer *tokenizer = open_tokenizer();
    open_file(&file, &is_new, tokenizer);
    CHECK(is_new);
    CHECK_EQ_INT(file.n_documents, N_DOCUMENTS);
    CHECK(file.has_ends);
    for (size_t d = 0; d < file.n_documents; d++) {
        size_t n_text, n_ids;
        int32_t *ids;
        uint32_t *stored = calloc(file.documents[d].n_ids, sizeof *stored);
        char *text = (char *)case_read(case_path("corpus/%s.txt", file.documents[d].name), &n_text);
        REQUIRE_OK(quire_encode(tokenizer, text, n_text, false, &ids, &n_ids, &err));
        CHECK_EQ_INT(file.documents[d].n_ids, n_ids + 1);
        token_file_copy(&file, file.documents[d].first, (size_t)file.documents[d].n_ids, stored);
        for (size_t i = 0; i < n_ids; i++)
            CHECK_EQ_INT(stored[i], ids[i]);
        CHECK_EQ_INT(stored[n_ids], quire_tokenizer_end_of_text(tokenizer));
        free(ids);
        free(text);
        free(stored);
    }
    token_file_close(&file);
    quire_tokenizer_close(tokenizer);
}

static void a_token_file_is_made_once_for_a_content(void)
{
    quire_error err = {0};
    struct token_file file;
    bool is_new;
    char key[HASH_HEX_SIZE];
    size_t n;
    quire_tokenizer *tokenizer = open_tokenizer();
    open_file(&file, &is_new, tokenizer);
    memcpy(key, file.key, sizeof key);
    char *path = strdup(file.path);
    token_file_close(&file);
    open_file(&file, &is_new, tokenizer);
    CHECK(!is_new);
    token_file_close(&file);

    unsigned char *bytes = case_read(path, &n); /* damaged: it is made again, and is what it was */
    bytes[n / 2] ^= 1;
    case_write(path, bytes, n);
    open_file(&file, &is_new, tokenizer);
    CHECK(is_new);
    size_t n_again;
    unsigned char *again = case_read(path, &n_again);
    bytes[n / 2] ^= 1;
    CHECK(n == n_again && memcmp(bytes, again, n) == 0);
    token_file_close(&file);

    case_make_corpus(case_path("corpus-2"), N_DOCUMENTS, 60, 11);
    REQUIRE_OK(token_file_open(&file, &is_new, case_path("corpus-2"), case_path("cache"), tokenizer, 1024, NULL, &err));
    CHECK(!is_new); /* the same contents elsewhere */
    token_file_close(&file);
    case_write_text(case_path("corpus-2/doc-003.txt"), "other");
    REQUIRE_OK(token_file_open(&file, &is_new, case_path("corpus-2"), case_path("cache"), tokenizer, 1024, NULL, &err));
    CHECK(is_new);
    CHECK(strcmp(file.key, key) != 0);
    token_file_close(&file);
    free(bytes);
    free(again);
    free(path);
    quire_tokenizer_close(tokenizer);
}

static void what_is_no_text_is_refused(void)
{
    struct token_file file;
    bool is_new;
    quire_error err = {0};
    quire_tokenizer *tokenizer = open_tokenizer();
    CHECK_EQ_INT(token_file_open(&file, &is_new, case_path("absent"), case_path("cache"), tokenizer, 1024, NULL, &err),
                 QUIRE_ERR_IO);
    err = (quire_error){0};
    case_make_corpus(case_path("empty"), 0, 0, 1);
    CHECK_EQ_INT(token_file_open(&file, &is_new, case_path("empty"), case_path("cache"), tokenizer, 1024, NULL, &err),
                 QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "has no text to train on");
    err = (quire_error){0};
    case_make_corpus(case_path("binary"), 2, 10, 1);
    case_write_text(case_path("binary/doc-001.txt"), "fine \xFF not");
    CHECK_EQ_INT(token_file_open(&file, &is_new, case_path("binary"), case_path("cache"), tokenizer, 1024, NULL, &err),
                 QUIRE_ERR_TEXT);
    CHECK_MESSAGE(err, "doc-001.txt");
    err = (quire_error){0};
    /* Not where a vocabulary with room for the ids has kept them either. */
    CHECK_EQ_INT(token_file_open(&file, &is_new, case_path("corpus"), case_path("cache"), tokenizer, 100, NULL, &err),
                 QUIRE_ERR_MISMATCH);
    CHECK_MESSAGE(err, "beyond the model's vocabulary of 100");
    quire_tokenizer_close(tokenizer);
}

static void a_split_goes_by_list_or_by_name(void)
{
    quire_error err = {0};
    struct token_split split = {0};
    struct token_file file;
    struct token_set train, held;
    bool is_new;
    quire_tokenizer *tokenizer = open_tokenizer();
    open_file(&file, &is_new, tokenizer);
    case_write_text(case_path("list.tsv"), "slug\tpart\ndoc-001\theldout\r\ndoc-002\ttrain\n\ndoc-007\tvalidation\n");
    REQUIRE_OK(token_split_load(&split, case_path("list.tsv"), &err));
    REQUIRE_OK(token_set_make(&train, &file, &split, false, &err));
    REQUIRE_OK(token_set_make(&held, &file, &split, true, &err));
    CHECK_EQ_INT(held.n_documents, 2);
    CHECK_EQ_INT(held.documents[0], 1);
    CHECK_EQ_INT(held.documents[1], 7);
    CHECK_EQ_INT(train.n_documents, N_DOCUMENTS - 2);
    CHECK_EQ_INT(train.n_ids + held.n_ids, file.n_ids);
    token_set_release(&train);
    token_set_release(&held);
    token_split_release(&split);

    case_write_text(case_path("bad.tsv"), "doc-001\theldout\ndoc-002 train\n");
    CHECK_EQ_INT(token_split_load(&split, case_path("bad.tsv"), &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "line 2");

    size_t n_held = 0;
    split = (struct token_split){.fraction = 0.25};
    for (int i = 0; i < 4000; i++) {
        char name[32];
        snprintf(name, sizeof name, "book-%d", i);
        n_held += token_split_holds_out(&split, name);
    }
    CHECK_NEAR((double)n_held, 1000, 120); /* over four standard deviations */
    split.fraction = 1e-12;                /* none by its name; one is held out all the same */
    REQUIRE_OK(token_set_make(&held, &file, &split, true, &err));
    REQUIRE_OK(token_set_make(&train, &file, &split, false, &err));
    CHECK_EQ_INT(held.n_documents, 1);
    CHECK_EQ_INT(train.n_documents, N_DOCUMENTS - 1);
    CHECK_EQ_INT(train.n_ids + held.n_ids, file.n_ids);
    token_set_release(&train);
    token_set_release(&held);
    err = (quire_error){0};
    split.fraction = 0;
    CHECK_EQ_INT(token_set_make(&held, &file, &split, true, &err), QUIRE_ERR_FORMAT);
    token_file_close(&file);
    quire_tokenizer_close(tokenizer);
}

/* Samples of an epoch: the text end to end, cut from some offset, each piece once; another order and another offset in
 * the next; the same again when one comes back. */
static void an_epoch_has_every_sample_once(void)
{
    quire_error err = {0};
    struct token_file file;
    struct token_set set;
    struct token_order order, other;
    bool is_new;
    quire_tokenizer *tokenizer = open_tokenizer();
    open_file(&file, &is_new, tokenizer);
    REQUIRE_OK(token_set_make(&set, &file, NULL, false, &err));
    uint32_t *text = calloc(set.n_ids, sizeof *text);
    token_set_copy(&set, 0, (size_t)set.n_ids, text);
    REQUIRE_OK(token_order_make(&order, &set, SEQ_LEN, 5, true, &err));
    REQUIRE_OK(token_order_make(&other, &set, SEQ_LEN, 5, true, &err));
    uint64_t n = order.n_samples, n_moved = 0;
    CHECK_EQ_INT(n, (set.n_ids - 1) / SEQ_LEN - 1);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        unsigned char *is_taken = calloc(n, 1);
        for (uint64_t i = 0; i < n; i++) {
            uint32_t tokens[SEQ_LEN], targets[SEQ_LEN];
            token_order_sample(&order, epoch * n + i, tokens, targets);
            uint64_t at = order.offset + (uint64_t)order.order[i] * SEQ_LEN;
            CHECK(at + SEQ_LEN < set.n_ids);
            CHECK(memcmp(tokens, text + at, sizeof tokens) == 0);
            CHECK(memcmp(targets, text + at + 1, sizeof targets) == 0);
            CHECK(is_taken[order.order[i]]++ == 0);
            n_moved += order.order[i] != i;
        }
        free(is_taken);
    }
    CHECK(n_moved > n);
    uint32_t a[2][SEQ_LEN], b[2][SEQ_LEN]; /* straight into an epoch, and back */
    token_order_sample(&order, n + n / 2, a[0], a[1]);
    token_order_sample(&other, n + n / 2, b[0], b[1]);
    CHECK(memcmp(a, b, sizeof a) == 0);
    token_order_release(&other);
    REQUIRE_OK(token_order_make(&other, &set, SEQ_LEN, 6, true, &err));
    CHECK(memcmp(order.order, other.order, n * sizeof *other.order) != 0);
    token_order_release(&other);
    token_order_release(&order);
    CHECK_EQ_INT(token_order_make(&order, &set, (uint32_t)set.n_ids, 5, true, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "one sample needs");
    free(text);
    token_set_release(&set);
    token_file_close(&file);
    quire_tokenizer_close(tokenizer);
}

static void validation_windows_cover_every_document(void)
{
    quire_error err = {0};
    struct token_file file;
    struct token_set set;
    struct token_window *windows, *some;
    bool is_new;
    size_t n, n_some;
    quire_tokenizer *tokenizer = open_tokenizer();
    open_file(&file, &is_new, tokenizer);
    REQUIRE_OK(token_set_make(&set, &file, NULL, false, &err));
    REQUIRE_OK(token_windows(&windows, &n, &set, SEQ_LEN, 0, &err));
    uint64_t n_targets = 0;
    for (size_t i = 0; i < n; i++)
        n_targets += windows[i].n_targets;
    CHECK_EQ_INT(n_targets, file.n_ids - 2 * N_DOCUMENTS); /* but for first ids and ends */
    REQUIRE_OK(token_windows(&some, &n_some, &set, SEQ_LEN, 4, &err));
    CHECK_EQ_INT(n_some, 4);
    CHECK_EQ_INT(some[0].first, windows[0].first);
    CHECK_EQ_INT(some[2].first, windows[n / 2].first);
    free(windows);
    free(some);
    token_set_release(&set);
    token_file_close(&file);
    quire_tokenizer_close(tokenizer);
}

static const struct test tests[] = {
    {"a token file holds every document", a_token_file_holds_every_document},
    {"a token file is made once for a content", a_token_file_is_made_once_for_a_content},
    {"what is no text is refused", what_is_no_text_is_refused},
    {"a split goes by list or by name", a_split_goes_by_list_or_by_name},
    {"an epoch has every sample once", an_epoch_has_every_sample_once},
    {"validation windows cover every document", validation_windows_cover_every_document},
};
TEST_MAIN(tests)
