/* Files that are cut short under a reading: the model, the book that is read on. An error names file and offset,
 * nothing that was computed from them is kept, and once the file is whole again the reading ends as if nothing had
 * been. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "golden.h"
#include "kv/kv_file.h"
#include "test.h"

enum { N_TOKENS = 300, CHUNK = 64, SPAN = 128, N_NEW = 4 };

struct fixture {
    char folder[64], model_path[128], store[128], book[KV_PATH_SIZE];
    quire_model *model;
    int32_t *ids;
    float *logits; /* of the sound reading */
};

/* What is cut at a step of the reading, and put back afterwards. */
struct cut {
    char path[KV_PATH_SIZE];
    int step; /* of quire_progress; -1: never */
    char *bytes;
    size_t n_bytes;
};

static void cut_file(struct cut *cut)
{
    quire_error err = {0};
    REQUIRE_OK(sys_read_file(&cut->bytes, &cut->n_bytes, cut->path, 1 << 30, &err));
    if (truncate(cut->path, 0) != 0)
        exit(1);
}

/* In place: mappings and descriptors go on to mean this file. */
static void mend_file(struct cut *cut)
{
    quire_error err = {0};
    int fd = open(cut->path, O_WRONLY);
    REQUIRE_OK(sys_write_all(fd, cut->bytes, cut->n_bytes, 0, cut->path, &err));
    close(fd);
    free(cut->bytes);
    cut->bytes = NULL;
}

static int on_progress(void *user, const quire_progress *progress)
{
    struct cut *cut = user;
    (void)progress;
    if (cut->step >= 0 && cut->step-- == 0)
        cut_file(cut);
    return 0;
}

static void copy_file(const char *from, const char *to)
{
    quire_error err = {0};
    char *bytes;
    size_t n;
    REQUIRE_OK(sys_read_file(&bytes, &n, from, 1 << 30, &err));
    int fd = open(to, O_CREAT | O_EXCL | O_WRONLY, 0600);
    REQUIRE_OK(sys_write_all(fd, bytes, n, 0, to, &err));
    close(fd);
    free(bytes);
}

static void begin(struct fixture *f)
{
    quire_error err = {0};
    *f = (struct fixture){0};
    make_folder(f->folder);
    snprintf(f->model_path, sizeof f->model_path, "%s/model.gguf", f->folder);
    snprintf(f->store, sizeof f->store, "%s/store", f->folder);
    copy_file(golden_path("gguf-storywriter-bf16", "model.gguf"), f->model_path);
    REQUIRE_OK(quire_model_open(&f->model, f->model_path, &err));
    size_t vocab = quire_model_config(f->model)->vocab_size;
    f->ids = random_ids(N_TOKENS + N_NEW, (uint32_t)vocab, 71);
    f->logits = calloc(vocab, sizeof *f->logits);
}

static void end(struct fixture *f)
{
    quire_model_close(f->model);
    free(f->ids);
    free(f->logits);
    remove_folder(f->folder);
}

static void open_engine(quire_engine **engine, quire_book **book, const struct fixture *f, bool is_stored,
                        struct cut *cut)
{
    quire_error err = {0};
    quire_engine_options opts = quire_engine_defaults();
    opts.store_path = is_stored ? f->store : NULL;
    opts.spill_path = f->folder;
    opts.chunk_tokens = CHUNK;
    opts.span_tokens = SPAN;
    opts.commit_seconds = 0;
    opts.n_threads = 2;
    opts.progress = cut ? on_progress : NULL;
    opts.user = cut;
    REQUIRE_OK(quire_engine_open(engine, f->model, &opts, &err));
    REQUIRE_OK(quire_book_open(book, *engine, &err));
}

static void close_engine(quire_engine *engine, quire_book *book)
{
    quire_book_close(book);
    quire_engine_close(engine);
}

/* Reads to the end and appends; the logits after that. */
static void read_soundly(struct fixture *f, bool is_stored, float *logits)
{
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    open_engine(&engine, &book, f, is_stored, NULL);
    CHECK_OK(quire_book_read(book, f->ids, N_TOKENS, N_NEW, &err));
    for (int i = 0; i < N_NEW && err.status == QUIRE_OK; i++)
        CHECK_OK(quire_book_append(book, f->ids[N_TOKENS + i], &err));
    if (quire_book_logits(book))
        memcpy(logits, quire_book_logits(book), quire_model_config(f->model)->vocab_size * sizeof *logits);
    close_engine(engine, book);
}

static void find_book(void *context, const char *name)
{
    struct fixture *f = context;
    kv_path(f->book, f->store, "books/%s", name);
}

static void check_same_end(struct fixture *f)
{
    size_t n = quire_model_config(f->model)->vocab_size;
    float *again = calloc(n, sizeof *again);
    read_soundly(f, true, again);
    CHECK(memcmp(again, f->logits, n * sizeof *again) == 0);
    free(again);
}

/* At many steps of the reading; with commits after every chunk, what is kept must be true. */
static void a_model_cut_short(void)
{
    struct fixture f;
    begin(&f);
    read_soundly(&f, false, f.logits);
    for (int step = 0; step < 10; step += 2) {
        quire_error err = {0};
        struct cut cut = {.step = step};
        quire_engine *engine;
        quire_book *book;
        snprintf(cut.path, sizeof cut.path, "%s", f.model_path);
        open_engine(&engine, &book, &f, true, &cut);
        CHECK_EQ_INT(quire_book_read(book, f.ids, N_TOKENS, N_NEW, &err), QUIRE_ERR_IO);
        CHECK_MESSAGE(err, f.model_path);
        CHECK_MESSAGE(err, "at byte");
        CHECK(quire_book_logits(book) == NULL);
        mend_file(&cut);
        quire_error_clear(&err);
        close_engine(engine, book);
        /* The handle stays broken: what it maps is zeros. */
        open_engine(&engine, &book, &f, true, NULL);
        CHECK_EQ_INT(quire_book_read(book, f.ids, N_TOKENS, N_NEW, &err), QUIRE_ERR_IO);
        quire_error_clear(&err);
        close_engine(engine, book);
        quire_model_close(f.model);
        REQUIRE_OK(quire_model_open(&f.model, f.model_path, &err));
        check_same_end(&f);
        remove_folder(f.store);
    }
    end(&f);
}

/* A layer of the book whose second half is being read. */
static void a_layer_cut_short_while_it_is_read(void)
{
    struct fixture f;
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    begin(&f);
    read_soundly(&f, false, f.logits);
    open_engine(&engine, &book, &f, true, NULL);
    CHECK_OK(quire_book_read(book, f.ids, SPAN, 0, &err));
    close_engine(engine, book);
    char books[KV_PATH_SIZE];
    kv_path(books, f.store, "books");
    REQUIRE_OK(kv_folder_list(books, find_book, &f, &err));
    struct cut cut = {.step = 0};
    kv_path(cut.path, f.book, "layer.000");
    open_engine(&engine, &book, &f, true, &cut);
    CHECK_EQ_INT(quire_book_read(book, f.ids, N_TOKENS, N_NEW, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "layer.000");
    close_engine(engine, book);
    mend_file(&cut);
    check_same_end(&f);
    end(&f);
}

/* While it is decoded from: the blocks were checked when they were first used, and are touched again. */
static void a_layer_cut_short_in_decode(void)
{
    struct fixture f;
    quire_error err = {0};
    quire_engine *engine;
    quire_book *book;
    begin(&f);
    read_soundly(&f, true, f.logits);
    char books[KV_PATH_SIZE];
    kv_path(books, f.store, "books");
    REQUIRE_OK(kv_folder_list(books, find_book, &f, &err));
    struct cut cut = {.step = -1};
    kv_path(cut.path, f.book, "layer.000");
    open_engine(&engine, &book, &f, true, NULL);
    CHECK_OK(quire_book_read(book, f.ids, N_TOKENS, N_NEW, &err));
    CHECK_EQ_INT(quire_book_n_reused(book), N_TOKENS);
    CHECK_OK(quire_book_append(book, f.ids[N_TOKENS], &err));
    cut_file(&cut);
    CHECK_EQ_INT(quire_book_append(book, f.ids[N_TOKENS + 1], &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "layer.000");
    CHECK_MESSAGE(err, "at byte");
    CHECK(quire_book_logits(book) == NULL);
    close_engine(engine, book);
    mend_file(&cut);
    check_same_end(&f);
    end(&f);
}

static const struct test tests[] = {
    {"a_model_cut_short", a_model_cut_short},
    {"a_layer_cut_short_while_it_is_read", a_layer_cut_short_while_it_is_read},
    {"a_layer_cut_short_in_decode", a_layer_cut_short_in_decode},
};

TEST_MAIN(tests)
