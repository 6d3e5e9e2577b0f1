/* What the engine does for its store: what books are bound to, what they are called, what is told, how much they take.
 */
#include <errno.h>

#include "base/sys.h"
#include "engine/identity.h"
#include "golden.h"
#include "kv/kv_book.h"
#include "kv/kv_test.h"
#include "quire/store.h"

enum { N = 300, CHUNK = 64 };

struct fixture {
    quire_model *model;
    char folder[KV_PATH_SIZE];
    int32_t *ids;
    quire_engine_options opts;
    quire_engine *engine;
    quire_book *book;
};

static void set_up(struct fixture *f)
{
    *f = (struct fixture){.model = golden_model("random-heads-6-grouped"), .opts = quire_engine_defaults()};
    kv_test_begin(f->folder);
    f->ids = random_ids(N, quire_model_config(f->model)->vocab_size, 41);
    f->opts.store_path = f->folder;
    f->opts.chunk_tokens = CHUNK;
    f->opts.memory_bytes = (uint64_t)1 << 30;
    f->opts.n_threads = 1;
}

static void tear_down(struct fixture *f)
{
    free(f->ids);
    kv_test_end(f->folder);
    quire_model_close(f->model);
}

static quire_status read_book(struct fixture *f, const char *label, quire_error *why)
{
    quire_error err = {0};
    REQUIRE_OK(quire_engine_open(&f->engine, f->model, &f->opts, &err));
    REQUIRE_OK(quire_book_open(&f->book, f->engine, &err));
    quire_book_describe(f->book, label, "It was a dark\nnight.");
    return quire_book_read(f->book, f->ids, N, 0, why);
}

static void close_book(struct fixture *f)
{
    quire_book_close(f->book);
    quire_engine_close(f->engine);
}

static void books_are_described(void)
{
    struct fixture f;
    quire_error err = {0};
    quire_store *store;
    quire_stored_book *books;
    size_t n;
    set_up(&f);
    CHECK_OK(read_book(&f, "the book", &err));
    close_book(&f);
    REQUIRE_OK(quire_store_open(&store, f.folder, false, &err));
    REQUIRE_OK(quire_store_list(store, &books, &n, &err));
    CHECK_EQ_INT(n, 1);
    CHECK_EQ_STR(books[0].label, "the book");
    CHECK_EQ_STR(books[0].words, "It was a dark night.");
    CHECK_EQ_STR(books[0].model, quire_model_name(f.model));
    CHECK_EQ_INT(books[0].n_tokens, N);
    free(books);
    quire_store_close(store);
    tear_down(&f);
}

/* Every field of the configuration changes the identity, and fits into it at its longest. */
static void an_identity_names_every_field(void)
{
    struct quire_model model = {.fingerprint = "0123456789abcdef0123456789abcdef",
                                .tokenizer_fingerprint = "0123456789abcdef0123456789abcdef"};
    char identity[IDENTITY_SIZE], other[IDENTITY_SIZE];
    identity_make(identity, &model, "openblas", "avx2", 0);
    size_t n_differ = 0;
    for (size_t i = 0; i < sizeof model.config / sizeof(uint32_t); i++) {
        struct quire_model changed = model;
        ((uint32_t *)&changed.config)[i] = i == offsetof(quire_config, norm_type) / sizeof(uint32_t) ? 1 : 0x01010101;
        identity_make(other, &changed, "openblas", "avx2", 0);
        n_differ += strcmp(identity, other) != 0;
    }
    CHECK_EQ_INT(n_differ, sizeof model.config / sizeof(uint32_t));
    memset(&model.config, 0x7E, sizeof model.config); /* ten digits, and floats of nine */
    model.config.norm_type = QUIRE_NORM_RMSNORM;
    model.config.no_bias = model.config.alibi = model.config.qk_ln = true;
    model.config.learned_pos_emb = model.config.tie_word_embeddings = true;
    identity_make(identity, &model, "openblas-bf16", "avx512-bf16", 0);
    CHECK(strstr(identity, "path openblas-bf16-avx512-bf16"));
    CHECK(strlen(identity) < KV_IDENTITY_SIZE - 40);
}

static int failing_open(const char *path, int flags, mode_t mode)
{
    if (strstr(path, "/flight.")) {
        errno = ENOSPC;
        return -1;
    }
    return sys_real.open(path, flags, mode);
}

/* A commit on the way that fails is told, once, and costs nothing else. */
static void a_failed_commit_is_told(void)
{
    struct fixture f;
    quire_error err = {0};
    set_up(&f);
    f.opts.commit_seconds = 0;
    sys.open = failing_open;
    CHECK_OK(read_book(&f, NULL, &err));
    sys.open = sys_real.open;
    const char *notice = quire_book_notice(f.book, 0);
    CHECK(notice && strstr(notice, "was not saved on the way") && strstr(notice, "No space left") &&
          strstr(notice, "flight."));
    CHECK(quire_book_notice(f.book, 1) == NULL);
    close_book(&f);
    CHECK_OK(read_book(&f, NULL, &err)); /* the end was committed */
    CHECK_EQ_INT(quire_book_n_reused(f.book), N);
    CHECK(quire_book_notice(f.book, 0) == NULL);
    close_book(&f);
    tear_down(&f);
}

static size_t n_books(const struct fixture *f, uint64_t *n_bytes)
{
    quire_error err = {0};
    quire_store *store;
    quire_stored_book *books;
    size_t n = 0;
    REQUIRE_OK(quire_store_open(&store, f->folder, false, &err));
    REQUIRE_OK(quire_store_list(store, &books, &n, &err));
    *n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        *n_bytes += books[i].disk_bytes;
    free(books);
    quire_store_close(store);
    return n;
}

static void a_limit_is_kept_or_refused(void)
{
    struct fixture f;
    quire_error err = {0};
    uint64_t n_bytes;
    set_up(&f);
    CHECK_OK(read_book(&f, NULL, &err));
    close_book(&f);
    f.opts.store_limit_bytes = 3000;
    f.ids[0]++;
    CHECK_EQ_INT(read_book(&f, NULL, &err), QUIRE_ERR_NO_SPACE); /* before any work, and nothing was removed for it */
    CHECK_MESSAGE(err, "its limit");
    close_book(&f);
    CHECK_EQ_INT(n_books(&f, &n_bytes), 1);
    quire_error_clear(&err);
    f.ids[0]--;
    CHECK_OK(read_book(&f, NULL, &err)); /* nothing is added: there is nothing to refuse */
    close_book(&f);
    f.ids[0]++;
    f.opts.store_limit_bytes = (uint64_t)1 << 40;
    CHECK_OK(read_book(&f, NULL, &err));
    close_book(&f);
    CHECK_EQ_INT(n_books(&f, &n_bytes), 2);
    f.opts.store_limit_bytes = n_bytes + n_bytes / 8; /* not enough for a third */
    f.ids[0]++;
    CHECK_OK(read_book(&f, NULL, &err));
    close_book(&f);
    CHECK(n_books(&f, &n_bytes) < 3);
    tear_down(&f);
}

static const struct test tests[] = {
    {"books_are_described", books_are_described},
    {"an_identity_names_every_field", an_identity_names_every_field},
    {"a_failed_commit_is_told", a_failed_commit_is_told},
    {"a_limit_is_kept_or_refused", a_limit_is_kept_or_refused},
};

TEST_MAIN(tests)
