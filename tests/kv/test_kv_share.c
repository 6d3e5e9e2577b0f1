/* One store, many processes: two writers of one text, readers beside a writer, and a copy that is taken while the store
 * is being written. Whatever anybody is served is right. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/kv_book.h"
#include "kv_test.h"

enum { N_TOKENS = 2500, STEP = 37, N_READERS = 8, N_COPIES = 12 };
#ifdef TEST_SANITIZED
enum { N_ROUNDS = 6 };
#else
enum { N_ROUNDS = 25 };
#endif

struct fixture {
    char folder[KV_PATH_SIZE], store[KV_PATH_SIZE];
    struct kv_geometry geometry;
    int32_t *text, *other;
};

static void set_up(struct fixture *f, uint64_t seed)
{
    *f = (struct fixture){.geometry = kv_test_geometry(QUIRE_KV_F16)};
    f->text = kv_test_text(N_TOKENS, seed);
    f->other = kv_test_text(N_TOKENS, seed + 1);
    memcpy(f->other, f->text, 700 * sizeof *f->text);
    kv_test_begin(f->folder);
    kv_path(f->store, f->folder, "store");
}

static void tear_down(struct fixture *f)
{
    kv_test_end(f->folder);
    free(f->text);
    free(f->other);
}

/* A child that runs the function and ends with what failed in it. */
static pid_t start(void (*run)(struct fixture *f, uint64_t seed), struct fixture *f, uint64_t seed)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        exit(1);
    if (child == 0) {
        run(f, seed);
        fflush(NULL);
        _exit(test_n_failed_checks > 0);
    }
    return child;
}

static void wait_for(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* --- two writers ------------------------------------------------------------------------------------------------- */

static void read_in_steps(struct fixture *f, uint64_t seed)
{
    struct kv_book *book;
    float logits[KV_TEST_LOGITS];
    quire_error err = {0};
    struct kv_store *store = kv_test_store(f->store, &f->geometry);
    REQUIRE_OK(kv_book_open(&book, store, f->text, N_TOKENS, false, &err));
    CHECK(kv_store_notice(store) == NULL);
    CHECK(kv_test_holds(book, &f->geometry, f->text, kv_book_frontier(book)));
    for (size_t at = kv_book_frontier(book), n; at < N_TOKENS; at += n) {
        n = 1 + test_random(&seed) % 400;
        n = n < N_TOKENS - at ? n : N_TOKENS - at;
        REQUIRE_OK(kv_test_put(book, &f->geometry, f->text, at, n, &err));
        kv_test_logits(logits, f->text, at + n);
        REQUIRE_OK(kv_book_commit(book, f->text, at + n, logits, KV_TEST_LOGITS, &err));
    }
    CHECK(kv_test_holds(book, &f->geometry, f->text, N_TOKENS));
    kv_book_close(book);
    kv_store_close(store);
}

static void two_writers_at_once(void) /* KV-4 */
{
    for (uint64_t round = 0; round < N_ROUNDS && test_n_failed_checks == 0; round++) {
        struct fixture f;
        struct kv_book *book;
        quire_error err = {0};
        set_up(&f, round);
        pid_t first = start(read_in_steps, &f, round), second = start(read_in_steps, &f, round + 1000);
        wait_for(first);
        wait_for(second);
        struct kv_store *store = kv_test_store(f.store, &f.geometry);
        REQUIRE_OK(kv_book_open(&book, store, f.text, N_TOKENS, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), N_TOKENS);
        CHECK(kv_store_notice(store) == NULL);
        CHECK(kv_test_holds(book, &f.geometry, f.text, N_TOKENS));
        CHECK(kv_test_has_logits(book, f.text, N_TOKENS));
        CHECK_OK(kv_book_verify(book, &err));
        kv_book_close(book);
        kv_store_close(store);
        tear_down(&f);
    }
}

/* --- readers and a writer ---------------------------------------------------------------------------------------- */

static void write_slowly(struct fixture *f, uint64_t seed)
{
    struct kv_book *book;
    float logits[KV_TEST_LOGITS], residual[STEP] = {0};
    quire_error err = {0};
    (void)seed;
    struct kv_store *store = kv_test_store(f->store, &f->geometry);
    REQUIRE_OK(kv_book_open(&book, store, f->text, N_TOKENS, false, &err));
    for (size_t at = kv_book_frontier(book), n; at < N_TOKENS; at += n) {
        n = STEP < N_TOKENS - at ? STEP : N_TOKENS - at;
        struct kv_flight flight = {.span_first = at, .span_end = at + n, .layer = 1, .kv_token = at};
        REQUIRE_OK(kv_test_put_layer(book, &f->geometry, 0, f->text, at, n, &err));
        REQUIRE_OK(kv_book_save_flight(book, f->text, at + n, &flight, residual, n * sizeof(float), &err));
        REQUIRE_OK(kv_test_put_layer(book, &f->geometry, 1, f->text, at, n, &err));
        kv_test_logits(logits, f->text, at + n);
        REQUIRE_OK(kv_book_commit(book, f->text, at + n, logits, KV_TEST_LOGITS, &err));
        usleep(2000);
    }
    kv_book_close(book);
    kv_store_close(store);
}

/* Texts that the book ends in, goes beyond, or leaves: what is served is right and sound, and what was there once
 * stays.
 */
static void read_on_and_on(struct fixture *f, uint64_t seed)
{
    size_t served = 0, n_opened = 0, n_whole = 0;
    struct kv_store *store = kv_test_store(f->store, &f->geometry);
    while (served < N_TOKENS - KV_BLOCK_TOKENS && test_n_failed_checks == 0) {
        struct kv_book *book;
        quire_error err = {0};
        const int32_t *text = test_random(&seed) % 4 == 0 ? f->other : f->text;
        size_t n = test_random(&seed) % N_TOKENS + 1, near = (served / STEP + 1 + test_random(&seed) % 3) * STEP;
        switch (test_random(&seed) % 3) {
        case 0: n = N_TOKENS; break;
        case 1: n = near < N_TOKENS ? near : N_TOKENS; break; /* where the book may end just now */
        default: break;
        }
        REQUIRE_OK(kv_book_open(&book, store, text, n, false, &err));
        size_t frontier = kv_book_frontier(book);
        CHECK_EQ_STR(kv_store_notice(store) ? kv_store_notice(store) : "", "");
        for (uint32_t i = 0; i < f->geometry.n_layers; i++)
            for (uint32_t h = 0; h < f->geometry.n_heads; h++)
                CHECK_OK(kv_book_check(book, i, h, &err));
        CHECK(kv_test_holds(book, &f->geometry, text, frontier));
        if (text == f->text && n == N_TOKENS) {
            CHECK(frontier + KV_BLOCK_TOKENS > served); /* whole blocks of what is being written */
            served = frontier > served ? frontier : served;
        }
        n_opened++;
        n_whole += frontier == n;
        kv_book_close(book);
    }
    printf("     %zu times a book was opened, %zu times one that had all of the text\n", n_opened, n_whole);
    kv_store_close(store);
}

static void eight_readers_and_a_writer(void) /* KV-1, KV-4, KV-5 */
{
    struct fixture f;
    pid_t readers[N_READERS];
    set_up(&f, 81);
    kv_store_close(kv_test_store(f.store, &f.geometry));
    pid_t writer = start(write_slowly, &f, 0);
    for (int i = 0; i < N_READERS; i++)
        readers[i] = start(read_on_and_on, &f, (uint64_t)i);
    wait_for(writer);
    for (int i = 0; i < N_READERS; i++)
        wait_for(readers[i]);
    tear_down(&f);
}

/* --- a copy ------------------------------------------------------------------------------------------------------ */

static void write_for_ever(struct fixture *f, uint64_t seed)
{
    for (;;) {
        int32_t *text = seed % 3 == 0 ? f->other : f->text; /* branches, and then new books */
        struct kv_book *book;
        float logits[KV_TEST_LOGITS];
        quire_error err = {0};
        struct kv_store *store = kv_test_store(f->store, &f->geometry);
        REQUIRE_OK(kv_book_open(&book, store, text, N_TOKENS, seed % 5 == 4, &err));
        for (size_t at = kv_book_frontier(book), n; at < N_TOKENS; at += n) {
            n = 1 + test_random(&seed) % 200;
            n = n < N_TOKENS - at ? n : N_TOKENS - at;
            REQUIRE_OK(kv_test_put(book, &f->geometry, text, at, n, &err));
            kv_test_logits(logits, text, at + n);
            REQUIRE_OK(kv_book_commit(book, text, at + n, logits, KV_TEST_LOGITS, &err));
        }
        kv_book_close(book);
        kv_store_close(store);
        seed++;
    }
}

static void copy_store(const char *from, const char *to)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDERR_FILENO); /* files that vanish meanwhile */
        execlp("cp", "cp", "-r", "--", from, to, (char *)NULL);
        _exit(127);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) < 2);
}

static bool is_sound(const struct fixture *f, struct kv_book *book)
{
    bool is_sound = true;
    for (uint32_t i = 0; i < f->geometry.n_layers; i++)
        for (uint32_t h = 0; h < f->geometry.n_heads; h++)
            is_sound = kv_book_check(book, i, h, NULL) == QUIRE_OK && is_sound;
    return is_sound;
}

/* As an engine does it: what is not sound is found before it is used, and what lies before it serves. Returns where the
 * reading began. */
static size_t read_from_copy(const struct fixture *f, struct kv_store *store, const int32_t *text)
{
    struct kv_book *book;
    float logits[KV_TEST_LOGITS];
    quire_error err = {0};
    REQUIRE_OK(kv_book_open(&book, store, text, N_TOKENS, false, &err));
    while (!is_sound(f, book)) {
        CHECK(kv_book_condemn(book));
        kv_book_close(book);
        REQUIRE_OK(kv_book_open(&book, store, text, N_TOKENS, false, &err));
    }
    size_t frontier = kv_book_frontier(book);
    CHECK(kv_test_holds(book, &f->geometry, text, frontier));
    if (frontier == N_TOKENS) {
        CHECK(kv_test_has_logits(book, text, N_TOKENS));
    } else {
        kv_test_logits(logits, text, N_TOKENS);
        CHECK_OK(kv_test_put(book, &f->geometry, text, frontier, N_TOKENS - frontier, &err));
        CHECK_OK(kv_book_commit(book, text, N_TOKENS, logits, KV_TEST_LOGITS, &err));
        CHECK(kv_test_holds(book, &f->geometry, text, N_TOKENS));
    }
    kv_book_close(book);
    return frontier;
}

static void a_copy_taken_in_mid_writing_is_sound(void) /* KV-6, KV-10 */
{
    struct fixture f;
    char copy[KV_PATH_SIZE];
    int status;
    size_t n_reused = 0;
    set_up(&f, 91);
    kv_store_close(kv_test_store(f.store, &f.geometry));
    pid_t writer = start(write_for_ever, &f, 1);
    kv_path(copy, f.folder, "copy");
    for (int i = 0; i < N_COPIES && test_n_failed_checks == 0; i++) {
        copy_store(f.store, copy);
        struct kv_store *store = kv_test_store(copy, &f.geometry);
        n_reused += read_from_copy(&f, store, f.text) > 0;
        n_reused += read_from_copy(&f, store, f.other) > 0;
        kv_store_close(store);
        kv_test_end(copy);
    }
    kill(writer, SIGKILL);
    waitpid(writer, &status, 0);
    CHECK(WIFSIGNALED(status)); /* it did not end by itself */
    CHECK(n_reused > N_COPIES);
    tear_down(&f);
}

static const struct test tests[] = {
    {"two_writers_at_once", two_writers_at_once},
    {"eight_readers_and_a_writer", eight_readers_and_a_writer},
    {"a_copy_taken_in_mid_writing_is_sound", a_copy_taken_in_mid_writing_is_sound},
};
TEST_MAIN(tests)
