/* The n-th call to the system fails, for n = 1, 2, 3, ... until one life of everything goes well: a document is read, a
 * model opened, the text read by an engine with a store, interrupted, gone on with, and continued. Each time: an error
 * that names file and reason, or success with the right bits; nothing leaked; and the next life on the same store ends
 * with the same bits. kv/test_kv_fault.c does the same to the store alone, with stranger timing. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/sys.h"
#include "golden.h"
#include "kv/kv_door.h"
#include "kv/kv_test.h"

enum { CHUNK = 64, SPAN = 128, N_TOKENS = 150 };
static const int32_t next_id = 7;

struct fixture {
    char folder[KV_PATH_SIZE], document[KV_PATH_SIZE], store[KV_PATH_SIZE];
    size_t vocab_size;
    float *logits, *appended; /* of an undisturbed life */
};

struct result {
    float *logits, *appended; /* NULL: not got */
};

static void result_release(struct result *result)
{
    free(result->logits);
    free(result->appended);
    *result = (struct result){0};
}

static float *copy_logits(const float *logits, size_t n)
{
    float *copy = malloc(n * sizeof *copy);
    memcpy(copy, logits, n * sizeof *copy);
    return copy;
}

static int count_down(void *user, const quire_progress *progress)
{
    int *n_left = user;
    (void)progress;
    return (*n_left)-- == 0;
}

/* A token for each byte: what a tokenizer does is in no call to the system. */
static quire_status read_document(int32_t *ids, size_t *n, const char *path, uint32_t vocab_size, quire_error *err)
{
    quire_reader_options opts = {.buffer_bytes = 40, .n_in_flight = 2};
    quire_reader *reader;
    const char *bytes;
    size_t n_bytes = 1;
    quire_status status = quire_reader_open(&reader, path, &opts, err);
    if (status != QUIRE_OK)
        return status;
    for (*n = 0; status == QUIRE_OK && n_bytes > 0;) {
        status = quire_reader_next(reader, &bytes, &n_bytes, err);
        for (size_t i = 0; status == QUIRE_OK && i < n_bytes && *n < N_TOKENS; i++)
            ids[(*n)++] = (int32_t)((unsigned char)bytes[i] % vocab_size);
    }
    quire_reader_close(reader);
    return status;
}

/* n_steps >= 0: the reading stops itself after so many steps, and that is success. */
static quire_status read_book(struct result *result, const quire_model *model, const char *store, const int32_t *ids,
                              size_t n, int n_steps, quire_error *err)
{
    bool is_cut = n_steps >= 0;
    quire_engine_options opts = quire_engine_defaults();
    size_t vocab_size = quire_model_config(model)->vocab_size;
    opts.store_path = store;
    opts.spill_path = "/tmp";
    opts.chunk_tokens = CHUNK;
    opts.span_tokens = SPAN;
    opts.n_threads = 1;
    opts.progress = is_cut ? count_down : NULL;
    opts.user = &n_steps;
    quire_engine *engine;
    quire_book *book = NULL;
    quire_status status = quire_engine_open(&engine, model, &opts, err);
    if (status != QUIRE_OK)
        return status;
    status = quire_book_open(&book, engine, err);
    if (status == QUIRE_OK)
        status = quire_book_read(book, ids, n, 1, err);
    if (status == QUIRE_OK && !is_cut) { /* where less than n_steps were left, the cut one may come to its end */
        result->logits = copy_logits(quire_book_logits(book), vocab_size);
        status = quire_book_append(book, next_id, err);
    } else if (status == QUIRE_ERR_CANCELLED && is_cut) {
        quire_error_clear(err);
        status = QUIRE_OK;
    }
    if (status == QUIRE_OK && !is_cut)
        result->appended = copy_logits(quire_book_logits(book), vocab_size);
    quire_book_close(book);
    quire_engine_close(engine);
    return status;
}

static quire_status live(struct result *result, const struct fixture *f, quire_error *err)
{
    int32_t ids[N_TOKENS];
    size_t n;
    quire_model *model;
    quire_status status = read_document(ids, &n, f->document, 56, err);
    if (status == QUIRE_OK)
        status = quire_model_open(&model, golden_path("random-heads-6-grouped", ""), err);
    if (status != QUIRE_OK)
        return status;
    status = read_book(result, model, f->store, ids, n, 6, err);
    if (status == QUIRE_OK)
        status = read_book(result, model, f->store, ids, n, -1, err);
    quire_model_close(model);
    return status;
}

static bool is_right(const struct fixture *f, const struct result *result)
{
    size_t n_bytes = f->vocab_size * sizeof(float);
    return (!result->logits || memcmp(result->logits, f->logits, n_bytes) == 0) &&
           (!result->appended || memcmp(result->appended, f->appended, n_bytes) == 0);
}

static void begin(struct fixture *f)
{
    kv_test_begin(f->folder);
    kv_path(f->document, f->folder, "document");
    kv_path(f->store, f->folder, "a/store");
    FILE *file = fopen(f->document, "we");
    for (int i = 0; file && i < N_TOKENS; i++)
        fputc(' ' + i * 7 % 95, file);
    if (!file || fclose(file) != 0)
        exit(1);
}

static void set_up(struct fixture *f)
{
    struct result result = {0};
    quire_error err = {0};
    quire_model *model = golden_model("random-heads-6-grouped");
    *f = (struct fixture){.vocab_size = quire_model_config(model)->vocab_size};
    quire_model_close(model);
    begin(f);
    REQUIRE_OK(live(&result, f, &err));
    f->logits = result.logits;
    f->appended = result.appended;
    kv_test_end(f->folder);
}

static void tear_down(struct fixture *f)
{
    free(f->logits);
    free(f->appended);
}

/* After a fault: the same store serves a life that goes well, with the same bits. */
static void check_next_life(const struct fixture *f)
{
    struct result result = {0};
    quire_error err = {0};
    CHECK_OK(live(&result, f, &err));
    CHECK(result.logits && result.appended && is_right(f, &result));
    result_release(&result);
}

static void check_error(const quire_error *err, quire_status status, int code, bool is_memory)
{
    bool is_full = code == ENOSPC || code == EDQUOT;
    if (is_memory) {
        CHECK_EQ_INT(status, QUIRE_ERR_NO_MEMORY);
        CHECK_MESSAGE(*err, "out of memory for ");
        return;
    }
    CHECK_EQ_INT(err->status, status);
    CHECK_MESSAGE(*err, strerror(code));
    CHECK_MESSAGE(*err, "'"); /* the file's name */
    if (is_full)
        CHECK_EQ_INT(status, QUIRE_ERR_NO_SPACE);
}

/* How many calls there were. */
static long every_call_fails(struct fixture *f, unsigned kinds, int code, enum door_fault fault)
{
    size_t n_fds = kv_test_count_fds();
    bool has_happened = true;
    long nth = 0;
    for (; has_happened && test_n_failed_checks == 0; nth++) {
        struct result result = {0};
        quire_error err = {0};
        begin(f);
        door_close(kinds, nth, fault, code);
        quire_status status = live(&result, f, &err);
        has_happened = door_open();
        CHECK(has_happened || status == QUIRE_OK);
        if (status != QUIRE_OK)
            check_error(&err, status, code, kinds == DOOR_MEMORY);
        else
            CHECK(result.logits && result.appended);
        CHECK(is_right(f, &result));
        result_release(&result);
        CHECK_EQ_INT(kv_test_count_fds(), n_fds);
        CHECK_EQ_INT(kv_test_count_maps(f->folder), 0);
        check_next_life(f);
        CHECK_EQ_INT(kv_test_count_fds(), n_fds);
        if (test_n_failed_checks > 0)
            fprintf(stderr, "call %ld of kinds %u failed with '%s'; the error: %s\n", nth, kinds, strerror(code),
                    err.message);
        kv_test_end(f->folder);
    }
    return nth - 1;
}

struct kind {
    const char *name;
    unsigned kinds;
    int codes[6]; /* 0: no more */
};

static void fail_kinds(const struct kind *kinds, size_t n)
{
    struct fixture f;
    set_up(&f);
    for (size_t k = 0; k < n && test_n_failed_checks == 0; k++) {
        long n_calls = 0;
        for (int c = 0; c < 6 && kinds[k].codes[c] != 0; c++)
            n_calls = every_call_fails(&f, kinds[k].kinds, kinds[k].codes[c], DOOR_FAILS_ONCE);
        printf("     %s: %ld calls\n", kinds[k].name, n_calls);
        CHECK(n_calls > 0);
    }
    tear_down(&f);
}

/* --- allocations: the linker sends the library's here (--wrap) ---------------------------------------------------- */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return door_fails(DOOR_MEMORY) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return door_fails(DOOR_MEMORY) ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return door_fails(DOOR_MEMORY) ? NULL : __real_aligned_alloc(alignment, size);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void what_writes_fails(void) /* KV-5, KV-7, KV-8 */
{
    static const struct kind kinds[] = {
        {"write", DOOR_WRITE, {ENOSPC, EIO, EDQUOT}},
        {"sync", DOOR_SYNC, {EIO, ENOSPC}},
        {"resize", DOOR_SIZE, {ENOSPC, EIO}},
        {"rename, unlink, mkdir, rmdir", DOOR_NAME, {ENOSPC, EROFS, EDQUOT}},
    };
    fail_kinds(kinds, sizeof kinds / sizeof *kinds);
}

static void what_opens_and_reads_fails(void)
{
    static const struct kind kinds[] = {
        {"open", DOOR_OPEN, {EIO, EMFILE}}, {"read", DOOR_READ, {EIO}}, {"stat", DOOR_STAT, {EIO}},
        {"map", DOOR_MAP, {ENOMEM}},        {"lock", DOOR_LOCK, {EIO}}, {"list", DOOR_LIST, {EIO, ENOMEM}},
    };
    fail_kinds(kinds, sizeof kinds / sizeof *kinds);
}

static void the_ring_fails(void)
{
    static const struct kind kinds[] = {
        {"io_uring", DOOR_RING, {ENOMEM, EPERM, EIO, EAGAIN, EINTR}},
        {"io_uring's reads", DOOR_RESULT, {EIO, ENOMEM}},
    };
    quire_reader *reader;
    quire_error err = {0};
    REQUIRE_OK(quire_reader_open(&reader, "/proc/self/exe", NULL, &err));
    bool has_ring = strncmp(quire_reader_backend(reader), "io_uring", 8) == 0;
    quire_reader_close(reader);
    if (!has_ring)
        SKIP("no io_uring here");
    fail_kinds(kinds, sizeof kinds / sizeof *kinds);
}

static void memory_fails(void)
{
    static const struct kind kinds[] = {{"allocation", DOOR_MEMORY, {ENOMEM}}};
    fail_kinds(kinds, sizeof kinds / sizeof *kinds);
}

/* From some write on there is no room for any more, as on a disk that is full. */
static void the_disk_fills_up(void)
{
    struct fixture f;
    set_up(&f);
    every_call_fails(&f, DOOR_WRITE | DOOR_SIZE, ENOSPC, DOOR_KEEPS_FAILING);
    tear_down(&f);
}

static void interruptions_go_unnoticed(void)
{
    struct fixture f;
    set_up(&f);
    bool has_happened = true;
    for (long nth = 0; has_happened && test_n_failed_checks == 0; nth++) {
        begin(&f);
        door_close(DOOR_READ | DOOR_WRITE | DOOR_SYNC | DOOR_SIZE | DOOR_LOCK, nth, DOOR_FAILS_ONCE, EINTR);
        check_next_life(&f);
        has_happened = door_open();
        kv_test_end(f.folder);
    }
    tear_down(&f);
}

/* --- a file system that is full in the middle of a reading -------------------------------------------------------- */

struct filling {
    const char *path; /* of the file that takes all the room that is left */
    int n_left;       /* steps until then */
};

static void fill(const char *path)
{
    static const char zeros[4096];
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    while (fd >= 0 && write(fd, zeros, sizeof zeros) > 0)
        ;
    close(fd);
}

static int fill_after_steps(void *user, const quire_progress *progress)
{
    struct filling *filling = user;
    (void)progress;
    if (filling->n_left-- == 0)
        fill(filling->path);
    return 0;
}

static void on_a_file_system_that_fills_up(void *context)
{
    struct fixture *f = context;
    int32_t ids[N_TOKENS];
    size_t n, n_full = 0;
    bool was_full = true;
    quire_error err = {0};
    quire_model *model = golden_model("random-heads-6-grouped");
    for (int step = 0; was_full && test_n_failed_checks == 0; step++) {
        char filler[KV_PATH_SIZE];
        struct filling filling = {filler, step};
        begin(f);
        REQUIRE_OK(read_document(ids, &n, f->document, 56, &err));
        kv_path(f->store, f->folder, "small/store");
        kv_path(filler, f->folder, "small");
        CHECK(mkdir(filler, 0700) == 0 && mount("none", filler, "tmpfs", 0, "size=1m") == 0);
        kv_path(filler, f->folder, "small/filler");
        quire_engine_options opts = quire_engine_defaults();
        opts.store_path = f->store;
        opts.spill_path = "/tmp";
        opts.chunk_tokens = CHUNK;
        opts.span_tokens = SPAN;
        opts.n_threads = 1;
        opts.progress = fill_after_steps;
        opts.user = &filling;
        quire_engine *engine;
        quire_book *book;
        REQUIRE_OK(quire_engine_open(&engine, model, &opts, &err));
        REQUIRE_OK(quire_book_open(&book, engine, &err));
        quire_status status = quire_book_read(book, ids, n, 1, &err);
        was_full = filling.n_left < 0;
        CHECK_EQ_INT(status, was_full ? QUIRE_ERR_NO_SPACE : QUIRE_OK);
        if (was_full)
            CHECK_MESSAGE(err, "No space left on device");
        n_full += was_full;
        quire_error_clear(&err);
        quire_book_close(book);
        quire_engine_close(engine);
        unlink(filler);
        kv_path(f->document, f->folder, "document");
        check_next_life(f);
        kv_path(filler, f->folder, "small");
        CHECK_EQ_INT(umount(filler), 0);
        kv_test_end(f->folder);
    }
    CHECK(n_full >= 10);
    quire_model_close(model);
}

static void a_file_system_fills_up_in_the_middle(void)
{
    struct fixture f;
    set_up(&f);
    bool is_allowed = kv_test_with_mounts(on_a_file_system_that_fills_up, &f);
    tear_down(&f);
    if (!is_allowed)
        SKIP("mounting a small tmpfs is not allowed here");
}

static const struct test tests[] = {
    {"what_writes_fails", what_writes_fails},
    {"what_opens_and_reads_fails", what_opens_and_reads_fails},
    {"the_ring_fails", the_ring_fails},
    {"memory_fails", memory_fails},
    {"the_disk_fills_up", the_disk_fills_up},
    {"a_file_system_fills_up_in_the_middle", a_file_system_fills_up_in_the_middle},
    {"interruptions_go_unnoticed", interruptions_go_unnoticed},
};
TEST_MAIN(tests)
