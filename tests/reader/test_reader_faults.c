/* The reader when the operating system refuses, fails, interrupts and does things by halves. */
#include <errno.h>
#include <liburing.h>

#include "base/sys.h"
#include "reader/reader_test.h"

#define N_TEXT 20000

static uint64_t seed;
static int n_calls, fail_at, fail_with; /* the fail_at-th call fails with this errno value */
static char *text, *path;

static void begin(void)
{
    seed = 1;
    n_calls = fail_at = fail_with = 0;
    text = make_text(N_TEXT, 42);
    path = make_file(text, N_TEXT);
}

static void end(void)
{
    sys = sys_real;
    drop_file(path);
    free(text);
}

static bool is_now(void)
{
    return ++n_calls == fail_at;
}

static struct reading read_in_buffers(size_t buffer_bytes, bool no_uring)
{
    quire_reader_options opts = {.no_uring = no_uring, .buffer_bytes = buffer_bytes, .n_in_flight = 3};
    return read_whole(path, &opts);
}

static int refuse_ring(struct io_uring *ring, unsigned n_entries)
{
    (void)ring, (void)n_entries;
    return -fail_with;
}

static int refuse_buffers(struct io_uring *ring, const struct iovec *buffers, unsigned n_buffers)
{
    (void)ring, (void)buffers, (void)n_buffers;
    return -fail_with;
}

static void a_refused_ring_falls_back_and_says_why(void)
{
    static const struct {
        int code;
        const char *backend;
    } cases[] = {
        {EPERM, "pread (io_uring refused: Operation not permitted)"},
        {ENOSYS, "pread (io_uring refused: Function not implemented)"},
        {ENOMEM, "pread (io_uring refused: Cannot allocate memory)"},
    };
    begin();
    sys.uring_open = refuse_ring;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fail_with = cases[i].code;
        struct reading reading = read_in_buffers(1000, false);
        CHECK(is_reading(&reading, text, N_TEXT));
        CHECK_EQ_STR(reading.backend, cases[i].backend);
        drop_reading(&reading);
        reading = read_in_buffers(1000, true);
        CHECK_EQ_STR(reading.backend, "pread");
        drop_reading(&reading);
    }
    end();
}

static void refused_buffers_are_read_into_unregistered(void)
{
    begin();
    if (!uring_works()) {
        end();
        SKIP("no io_uring here");
    }
    fail_with = ENOMEM;
    sys.uring_register = refuse_buffers;
    struct reading reading = read_in_buffers(1000, false);
    CHECK(is_reading(&reading, text, N_TEXT));
    CHECK_EQ_STR(reading.backend, "io_uring (buffers not registered: Cannot allocate memory)");
    drop_reading(&reading);
    end();
}

static int fail_submit(struct io_uring *ring)
{
    return is_now() ? -fail_with : sys_real.uring_submit(ring);
}

static int fail_submit_from(struct io_uring *ring)
{
    return ++n_calls >= fail_at ? -fail_with : sys_real.uring_submit(ring);
}

static void a_ring_that_may_not_be_used_falls_back(void)
{
    begin();
    if (!uring_works()) {
        end();
        SKIP("no io_uring here");
    }
    fail_at = 1;
    fail_with = EPERM;
    sys.uring_submit = fail_submit_from;
    struct reading reading = read_in_buffers(1000, false);
    CHECK(is_reading(&reading, text, N_TEXT));
    CHECK_EQ_STR(reading.backend, "pread (io_uring refused: Operation not permitted)");
    drop_reading(&reading);
    end();
}

/* A submission that is put off costs nothing but time; one that fails is an error, and closing waits for what is in
 * flight. */
static void submissions_are_repeated_or_end_the_reading(void)
{
    begin();
    for (fail_at = 2; fail_at < 40; fail_at++) {
        sys.uring_submit = fail_submit;
        fail_with = fail_at % 3 == 0 ? EAGAIN : fail_at % 3 == 1 ? EBUSY : EINTR;
        n_calls = 0;
        struct reading reading = read_in_buffers(1000, false);
        CHECK(is_reading(&reading, text, N_TEXT));
        drop_reading(&reading);

        sys.uring_submit = fail_submit_from;
        fail_with = EIO;
        n_calls = 0;
        reading = read_in_buffers(1000, false);
        CHECK_EQ_INT(reading.status, n_calls >= fail_at ? QUIRE_ERR_IO : QUIRE_OK);
        if (reading.status != QUIRE_OK)
            CHECK_MESSAGE(reading.err, "Input/output error");
        CHECK(reading.n == 0 || memcmp(reading.bytes, text, reading.n) == 0);
        drop_reading(&reading);
    }
    end();
}

static ssize_t fail_pread(int fd, void *buffer, size_t n, off_t offset)
{
    if (is_now()) {
        errno = fail_with;
        return -1;
    }
    return sys_real.pread(fd, buffer, n, offset);
}

static int fail_completion(struct io_uring *ring, struct io_uring_cqe **completion)
{
    int rc = sys_real.uring_wait(ring, completion);
    if (rc == 0 && is_now())
        (*completion)->res = -fail_with;
    return rc;
}

/* The 1st, 2nd, 3rd... read fails, until there are no more: what is in front of it comes out, then the error. */
static void a_failed_read_is_an_error_at_its_place(void)
{
    begin();
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        sys.pread = fail_pread;
        sys.uring_wait = fail_completion;
        fail_with = EIO;
        quire_status status = QUIRE_ERR_IO;
        for (fail_at = 1; status != QUIRE_OK && fail_at < 100; fail_at++) {
            char want[64];
            n_calls = 0;
            struct reading reading = read_in_buffers(1000, reader_ways[way].no_uring);
            status = reading.status;
            if (status != QUIRE_OK) {
                CHECK_EQ_INT(status, QUIRE_ERR_IO);
                CHECK_MESSAGE(reading.err, path);
                if (reader_ways[way].no_uring) { /* completions may come in any order */
                    snprintf(want, sizeof want, "at byte %d: Input/output error", (fail_at - 1) * 1000);
                    CHECK_MESSAGE(reading.err, want);
                }
                CHECK_MESSAGE(reading.err, "Input/output error");
                CHECK(reading.n <= N_TEXT && (reading.n == 0 || memcmp(reading.bytes, text, reading.n) == 0));
            } else {
                CHECK(is_reading(&reading, text, N_TEXT));
            }
            drop_reading(&reading);
        }
        CHECK_EQ_INT(fail_at, 23); /* each of the 20 reads and the one that finds the end failed once, then none did */
    }
    end();
}

/* What the ring cannot do for a file, pread does. */
static void a_refused_read_is_done_by_pread(void)
{
    static const int codes[] = {EAGAIN, EINVAL, EOPNOTSUPP, EINTR};
    begin();
    sys.uring_wait = fail_completion;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        for (fail_at = 1; fail_at < 25; fail_at++) {
            fail_with = codes[i];
            n_calls = 0;
            struct reading reading = read_in_buffers(1000, false);
            CHECK(is_reading(&reading, text, N_TEXT));
            drop_reading(&reading);
        }
    }
    end();
}

static int opened;

static int noting_open(const char *name, int flags, mode_t mode)
{
    opened = sys_real.open(name, flags, mode);
    return opened;
}

/* io_uring would answer EAGAIN instead of waiting for the disk, and others would have to make up for it. */
static void a_file_is_read_blocking(void)
{
    begin();
    sys.open = noting_open;
    quire_reader *reader;
    quire_error err = {0};
    REQUIRE_OK(quire_reader_open(&reader, path, NULL, &err));
    CHECK_EQ_INT(fcntl(opened, F_GETFL) & O_NONBLOCK, 0);
    quire_reader_close(reader);
    end();
}

static ssize_t halting_pread(int fd, void *buffer, size_t n, off_t offset)
{
    if (test_random(&seed) % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return sys_real.pread(fd, buffer, 1 + test_random(&seed) % n, offset);
}

static ssize_t no_pread(int fd, void *buffer, size_t n, off_t offset)
{
    if (offset >= N_TEXT) /* whether there is more than the file said */
        return sys_real.pread(fd, buffer, n, offset);
    CHECK(false); /* the ring finishes its short reads itself */
    errno = EIO;
    return -1;
}

/* Short reads, interrupted ones, and all completions that are there in the reverse of their order. */
static int halting_wait(struct io_uring *ring, struct io_uring_cqe **completion)
{
    if (test_random(&seed) % 3 == 0)
        return -EINTR;
    int rc = sys_real.uring_wait(ring, completion);
    struct io_uring_cqe *ready[64], *cqe;
    unsigned head, n_ready = 0;
    io_uring_for_each_cqe(ring, head, cqe)
    {
        if (n_ready < 64)
            ready[n_ready++] = cqe;
    }
    for (unsigned i = 0; i < n_ready / 2; i++) {
        struct io_uring_cqe *other = ready[n_ready - 1 - i];
        __u64 user_data = ready[i]->user_data;
        __s32 res = ready[i]->res;
        ready[i]->user_data = other->user_data;
        ready[i]->res = other->res;
        other->user_data = user_data;
        other->res = res;
    }
    if (rc == 0 && (*completion)->res > 1 && test_random(&seed) % 2 == 0)
        (*completion)->res = test_random(&seed) % 4 == 0 ? -EINTR : 1 + (int)(test_random(&seed) % (*completion)->res);
    return rc;
}

static void short_interrupted_and_unordered_reads_give_the_file(void)
{
    begin();
    bool has_uring = uring_works();
    sys.uring_wait = halting_wait;
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        sys.pread = has_uring && !reader_ways[way].no_uring ? no_pread : halting_pread;
        for (size_t buffer = 500; buffer < 25000; buffer = buffer * 3 / 2) {
            quire_reader_options opts = {.no_uring = reader_ways[way].no_uring,
                                         .buffer_bytes = buffer,
                                         .n_in_flight = 1 + (uint32_t)(buffer % 9)};
            struct reading reading = read_whole(path, &opts);
            CHECK(is_reading(&reading, text, N_TEXT));
            drop_reading(&reading);
        }
    }
    /* Unregistered buffers take the other kind of read. */
    sys.uring_register = refuse_buffers;
    sys.pread = has_uring ? no_pread : halting_pread;
    fail_with = ENOMEM;
    struct reading reading = read_in_buffers(700, false);
    CHECK(is_reading(&reading, text, N_TEXT));
    drop_reading(&reading);
    end();
}

/* The file is shorter than fstat says from the start. */
static int boasting_fstat(int fd, struct stat *st)
{
    int rc = sys_real.fstat(fd, st);
    st->st_size += 5000;
    return rc;
}

static void a_file_shorter_than_its_size_is_an_error(void)
{
    begin();
    sys.fstat = boasting_fstat;
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        for (size_t buffer = 999; buffer < 40000; buffer *= 2) {
            struct reading reading = read_in_buffers(buffer, reader_ways[way].no_uring);
            CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
            CHECK_MESSAGE(reading.err, "it ends at byte 20000, and had 25000 bytes when opened");
            drop_reading(&reading);
        }
    }
    end();
}

static int fail_open(const char *name, int flags, mode_t mode)
{
    if (is_now()) {
        errno = fail_with;
        return -1;
    }
    return sys_real.open(name, flags, mode);
}

static int fail_fstat(int fd, struct stat *st)
{
    (void)fd, (void)st;
    errno = EIO;
    return -1;
}

static void opening_fails_clean(void)
{
    begin();
    int n_open = count_open_files();
    fail_at = 1;
    fail_with = EMFILE;
    sys.open = fail_open;
    struct reading reading = read_in_buffers(0, false);
    CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
    CHECK_MESSAGE(reading.err, "': Too many open files");

    n_calls = 0;
    fail_with = EINTR;
    reading = read_in_buffers(0, false);
    CHECK(is_reading(&reading, text, N_TEXT));
    drop_reading(&reading);

    sys.fstat = fail_fstat;
    reading = read_in_buffers(0, false);
    CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
    CHECK_MESSAGE(reading.err, "cannot stat '");
    CHECK_EQ_INT(count_open_files(), n_open);
    end();
}

static quire_reader *to_cancel;

static ssize_t cancelling_pread(int fd, void *buffer, size_t n, off_t offset)
{
    (void)fd, (void)buffer, (void)n, (void)offset;
    quire_reader_cancel(to_cancel);
    errno = EINTR;
    return -1;
}

/* Once: closing waits for the reads in flight through the same call. */
static int cancelling_wait(struct io_uring *ring, struct io_uring_cqe **completion)
{
    (void)ring, (void)completion;
    quire_reader_cancel(to_cancel);
    sys.uring_wait = sys_real.uring_wait;
    return -EINTR;
}

static void an_interrupted_read_sees_the_cancellation(void)
{
    begin();
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = 1000};
        struct reading reading = {0};
        quire_error err = {0};
        REQUIRE_OK(quire_reader_open(&to_cancel, path, &opts, &err));
        sys.pread = cancelling_pread;
        sys.uring_wait = cancelling_wait;
        read_rest(&reading, to_cancel);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_CANCELLED);
        sys = sys_real;
    }
    end();
}

static const struct test tests[] = {
    {"a_refused_ring_falls_back_and_says_why", a_refused_ring_falls_back_and_says_why},
    {"refused_buffers_are_read_into_unregistered", refused_buffers_are_read_into_unregistered},
    {"a_ring_that_may_not_be_used_falls_back", a_ring_that_may_not_be_used_falls_back},
    {"submissions_are_repeated_or_end_the_reading", submissions_are_repeated_or_end_the_reading},
    {"a_failed_read_is_an_error_at_its_place", a_failed_read_is_an_error_at_its_place},
    {"a_file_is_read_blocking", a_file_is_read_blocking},
    {"a_refused_read_is_done_by_pread", a_refused_read_is_done_by_pread},
    {"short_interrupted_and_unordered_reads_give_the_file", short_interrupted_and_unordered_reads_give_the_file},
    {"a_file_shorter_than_its_size_is_an_error", a_file_shorter_than_its_size_is_an_error},
    {"opening_fails_clean", opening_fails_clean},
    {"an_interrupted_read_sees_the_cancellation", an_interrupted_read_sees_the_cancellation},
};

TEST_MAIN(tests)
