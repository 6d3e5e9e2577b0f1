/* Disk space is taken before the work that needs it, and given back where it was not needed. */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv/kv_book.h"
#include "kv_test.h"

enum { N_TOKENS = 3000, N_READ = 1100, N_SPAN = 1500 };

/* Blocks of 32 KiB: whole pages, as those of real models. */
static const struct kv_geometry geometry = {.n_layers = 2, .n_heads = 2, .head_dim = 128, .type = QUIRE_KV_BF16};

static uint64_t layer_bytes(size_t n_tokens)
{
    return (uint64_t)n_tokens / KV_BLOCK_TOKENS * kv_block_bytes(&geometry) * geometry.n_heads * geometry.n_layers;
}

/* What the book's layer files take on the disk. */
static uint64_t allocated(const struct kv_book *book)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < geometry.n_layers; i++) {
        struct stat st;
        if (fstat(book->layers[i].fd, &st) != 0)
            exit(1);
        n += (uint64_t)st.st_blocks * 512;
    }
    return n;
}

static bool reserves(const struct kv_book *book)
{
    if (sys_real.fallocate(book->layers[0].fd, FALLOC_FL_KEEP_SIZE, 0, 4096) == 0)
        return true;
    return errno != EOPNOTSUPP;
}

struct fixture {
    char folder[KV_PATH_SIZE];
    struct kv_store *store;
    int32_t *ids;
    float residual[4];
};

static void begin(struct fixture *f)
{
    kv_test_begin(f->folder);
    f->store = kv_test_store(f->folder, &geometry);
    f->ids = kv_test_text(N_TOKENS, 5);
    memset(f->residual, 0, sizeof f->residual);
}

static void end(struct fixture *f)
{
    sys = sys_real;
    kv_store_close(f->store);
    free(f->ids);
    kv_test_end(f->folder);
}

static struct kv_book *open_book(const struct fixture *f)
{
    quire_error err = {0};
    struct kv_book *book;
    REQUIRE_OK(kv_book_open(&book, f->store, f->ids, N_TOKENS, false, &err));
    return book;
}

static void space_is_taken_and_given_back(void)
{
    quire_error err = {0};
    struct fixture f;
    begin(&f);
    struct kv_book *book = open_book(&f);
    if (!reserves(book)) {
        kv_book_close(book);
        end(&f);
        SKIP("the file system cannot reserve space");
    }
    CHECK_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
    CHECK(allocated(book) >= layer_bytes(N_TOKENS));
    CHECK(allocated(book) <= layer_bytes(N_TOKENS) + (64 << 10)); /* and not the files' whole sizes */
    unsigned char bytes[4096];
    CHECK(pread(book->layers[1].fd, bytes, sizeof bytes, 64 * 1024) == sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        CHECK_EQ_INT(bytes[i], 0);
    CHECK_OK(kv_test_put(book, &geometry, f.ids, 0, N_READ, &err));
    CHECK_OK(kv_book_commit(book, f.ids, N_READ, NULL, 0, &err));
    kv_book_close(book);

    book = open_book(&f);
    CHECK_EQ_INT(kv_book_frontier(book), N_READ);
    CHECK(allocated(book) >= layer_bytes(N_READ));
    CHECK(allocated(book) <= layer_bytes(N_READ) + (64 << 10));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    end(&f);
}

/* A writer that is killed leaves what it took to the next one, who gives it back. */
static void the_next_writer_gives_back(void)
{
    quire_error err = {0};
    struct fixture f;
    int status = 0;
    begin(&f);
    pid_t child = fork();
    if (child == 0) {
        struct kv_book *book = open_book(&f);
        REQUIRE_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
        REQUIRE_OK(kv_test_put(book, &geometry, f.ids, 0, N_READ, &err));
        REQUIRE_OK(kv_book_commit(book, f.ids, N_READ, NULL, 0, &err));
        _exit(0);
    }
    waitpid(child, &status, 0);
    CHECK_EQ_INT(status, 0);
    struct kv_book *book = open_book(&f);
    CHECK_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
    kv_book_close(book);
    book = open_book(&f);
    CHECK(allocated(book) <= layer_bytes(N_READ) + (64 << 10));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    end(&f);
}

/* A flight that this writer does not take up lies where its reservation does. */
static void a_flight_survives_a_writer_that_does_nothing(void)
{
    quire_error err = {0};
    struct fixture f;
    begin(&f);
    struct kv_book *book = open_book(&f);
    struct kv_flight flight = {.span_end = N_SPAN, .layer = 1, .kv_token = 0}, found;
    bool is_found;
    CHECK_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
    CHECK_OK(kv_test_put_layer(book, &geometry, 0, f.ids, 0, N_SPAN, &err));
    CHECK_OK(kv_book_save_flight(book, f.ids, N_TOKENS, &flight, f.residual, sizeof f.residual, &err));
    kv_book_close(book);

    book = open_book(&f);
    CHECK_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
    kv_book_close(book);

    book = open_book(&f);
    CHECK_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
    CHECK_OK(kv_book_flight(book, &found, &is_found));
    CHECK(is_found);
    CHECK_OK(kv_book_load_residual(book, f.residual, sizeof f.residual, &err));
    CHECK_OK(kv_test_put_layer(book, &geometry, 1, f.ids, 0, N_SPAN, &err));
    CHECK_OK(kv_book_commit(book, f.ids, N_SPAN, NULL, 0, &err));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    end(&f);
}

static int n_left; /* calls of fallocate that work */
static int code;   /* of those that do not */
static int n_interrupted;
static uint64_t free_bytes;

static int failing_fallocate(int fd, int mode, off_t offset, off_t n)
{
    if (n_interrupted > 0 && n_interrupted-- > 0) {
        errno = EINTR;
        return -1;
    }
    if ((mode & FALLOC_FL_PUNCH_HOLE) || n_left-- > 0)
        return sys_real.fallocate(fd, mode, offset, n);
    errno = code;
    return -1;
}

static int small_statvfs(const char *path, struct statvfs *st)
{
    int result = sys_real.statvfs(path, st);
    st->f_bavail = free_bytes / st->f_frsize;
    return result;
}

/* Wherever the disk turns out to be full: an error with the numbers, nothing taken, and the book as it was. */
static void a_full_disk_is_known_before(void)
{
    static const int codes[] = {ENOSPC, EDQUOT, EIO};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        for (int nth = 0; nth < 8; nth++) { /* two layers of two heads, two files each */
            quire_error err = {0};
            struct fixture f;
            begin(&f);
            struct kv_book *book = open_book(&f);
            sys.fallocate = failing_fallocate;
            n_left = nth;
            code = codes[i];
            n_interrupted = 2;
            CHECK_EQ_INT(kv_book_reserve(book, N_TOKENS, 0, &err), code == EIO ? QUIRE_ERR_IO : QUIRE_ERR_NO_SPACE);
            if (code != EIO) {
                CHECK_MESSAGE(err, "MiB more on disk");
                CHECK_MESSAGE(err, f.folder);
                CHECK_MESSAGE(err, strerror(code)); /* there is room: a limit of another kind */
            }
            CHECK(allocated(book) <= 64 << 10);
            quire_error_clear(&err);
            CHECK_OK(kv_test_put(book, &geometry, f.ids, 0, 200, &err));
            CHECK_OK(kv_book_commit(book, f.ids, 200, NULL, 0, &err));
            CHECK_OK(kv_book_verify(book, &err));
            kv_book_close(book);
            end(&f);
        }
}

static void without_reservations_the_free_space_counts(void)
{
    quire_error err = {0};
    struct fixture f;
    begin(&f);
    struct kv_book *book = open_book(&f);
    uint64_t needed = layer_bytes(N_TOKENS);
    sys.fallocate = failing_fallocate;
    sys.statvfs = small_statvfs;
    n_left = 0;
    code = EOPNOTSUPP;
    free_bytes = needed + (1 << 20);
    CHECK_OK(kv_book_reserve(book, N_TOKENS, 0, &err));
    CHECK_EQ_INT(kv_book_reserve(book, N_TOKENS, 2 << 20, &err), QUIRE_ERR_NO_SPACE);
    quire_error_clear(&err);
    free_bytes = needed - (1 << 20);
    CHECK_EQ_INT(kv_book_reserve(book, N_TOKENS, 0, &err), QUIRE_ERR_NO_SPACE);
    quire_error_clear(&err);
    /* Where space was reserved only the rest is looked for. */
    sys.fallocate = sys_real.fallocate;
    if (reserves(book)) {
        CHECK_OK(kv_book_reserve(book, N_TOKENS, needed / 2, &err));
        CHECK_EQ_INT(kv_book_reserve(book, N_TOKENS, needed, &err), QUIRE_ERR_NO_SPACE);
        CHECK(allocated(book) <= 64 << 10);
    }
    kv_book_close(book);
    end(&f);
}

static const struct test tests[] = {
    {"space_is_taken_and_given_back", space_is_taken_and_given_back},
    {"the_next_writer_gives_back", the_next_writer_gives_back},
    {"a_flight_survives_a_writer_that_does_nothing", a_flight_survives_a_writer_that_does_nothing},
    {"a_full_disk_is_known_before", a_full_disk_is_known_before},
    {"without_reservations_the_free_space_counts", without_reservations_the_free_space_counts},
};

TEST_MAIN(tests)
