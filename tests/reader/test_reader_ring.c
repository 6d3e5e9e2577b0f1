/* A ring that readers share, and that can do nothing but read. */
#include <errno.h>
#include <liburing.h>
#include <sys/socket.h>

#include "base/sys.h"
#include "reader/reader_test.h"

static bool skips(quire_reader_ring **ring)
{
    quire_error err = {0};
    return quire_reader_ring_open(ring, &err) != QUIRE_OK;
}

static void readers_take_turns(void)
{
    quire_reader_ring *ring;
    if (skips(&ring))
        SKIP("no io_uring that can be held to reading");
    char *text = make_text(300000, 7), *path = make_file(text, 300000);
    int n_files = count_open_files();
    for (size_t i = 0; i < 60; i++) {
        quire_reader_options opts = {.ring = ring, .buffer_bytes = 1000 + 997 * i};
        struct reading reading = read_whole(path, &opts);
        CHECK(is_reading(&reading, text, 300000));
        CHECK(strncmp(reading.backend, "io_uring", 8) == 0);
        drop_reading(&reading);
        /* One that is closed while its reads are on their way leaves nothing to the next. */
        quire_reader *reader;
        quire_error err = {0};
        const char *bytes;
        size_t n;
        REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
        if (i % 2)
            CHECK_OK(quire_reader_next(reader, &bytes, &n, &err));
        quire_reader_close(reader);
    }
    CHECK_EQ_INT(count_open_files(), n_files);
    quire_reader_ring_close(ring);
    quire_reader_ring_close(NULL);
    drop_file(path);
    free(text);
}

/* While it is in use, and for more reads than it has room for, others make their own. */
static void a_ring_in_use_is_left_alone(void)
{
    quire_reader_ring *ring;
    if (skips(&ring))
        SKIP("no io_uring that can be held to reading");
    char *text = make_text(100000, 8), *path = make_file(text, 100000);
    quire_reader_options opts = {.ring = ring, .buffer_bytes = 5000};
    quire_reader *reader;
    struct reading first = {0};
    quire_error err = {0};
    REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
    struct reading second = read_whole(path, &opts);
    CHECK(is_reading(&second, text, 100000));
    read_rest(&first, reader);
    CHECK(is_reading(&first, text, 100000));
    opts.n_in_flight = 16;
    struct reading third = read_whole(path, &opts);
    CHECK(is_reading(&third, text, 100000));
    CHECK(strncmp(third.backend, "io_uring", 8) == 0);
    drop_reading(&first), drop_reading(&second), drop_reading(&third);
    quire_reader_ring_close(ring);
    drop_file(path);
    free(text);
}

/* What comes back of an operation: its result, negative for an error. */
static int result_of(struct io_uring *ring)
{
    struct io_uring_cqe *completion;
    CHECK_EQ_INT(io_uring_submit(ring), 1);
    CHECK_EQ_INT(io_uring_wait_cqe(ring, &completion), 0);
    int result = completion->res;
    io_uring_cqe_seen(ring, completion);
    return result;
}

static void nothing_but_reads_is_done(void)
{
    struct io_uring ring;
    if (sys_real.uring_open_for_reads(&ring, 4) != 0)
        SKIP("no io_uring that can be held to reading");
    char *path = make_file("words", 5), bytes[5];
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct iovec vector = {bytes, sizeof bytes};
    io_uring_prep_readv(io_uring_get_sqe(&ring), fd, &vector, 1, 0);
    CHECK_EQ_INT(result_of(&ring), 5);
    io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, path, O_RDONLY, 0);
    CHECK_EQ_INT(result_of(&ring), -EACCES);
    io_uring_prep_writev(io_uring_get_sqe(&ring), fd, &vector, 1, 0);
    CHECK_EQ_INT(result_of(&ring), -EACCES);
    io_uring_prep_nop(io_uring_get_sqe(&ring));
    CHECK_EQ_INT(result_of(&ring), -EACCES);
    int pair[2];
    CHECK_EQ_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    io_uring_prep_send(io_uring_get_sqe(&ring), pair[0], "x", 1, 0);
    CHECK_EQ_INT(result_of(&ring), -EACCES);
    io_uring_prep_connect(io_uring_get_sqe(&ring), pair[0], NULL, 0);
    CHECK_EQ_INT(result_of(&ring), -EACCES);
    CHECK(io_uring_register_files(&ring, &fd, 1) == -EACCES);
    io_uring_queue_exit(&ring);
    close(pair[0]), close(pair[1]), close(fd);
    drop_file(path);
}

static int refuse(struct io_uring *ring, unsigned n_entries)
{
    (void)ring, (void)n_entries;
    return -EINVAL;
}

static void a_kernel_without_restrictions_is_told(void)
{
    quire_reader_ring *ring = NULL;
    quire_error err = {0};
    sys.uring_open_for_reads = refuse;
    CHECK_EQ_INT(quire_reader_ring_open(&ring, &err), QUIRE_ERR_UNSUPPORTED);
    sys = sys_real;
    CHECK(ring == NULL);
    CHECK_MESSAGE(err, "Invalid argument");
}

static const struct test tests[] = {
    {"readers_take_turns", readers_take_turns},
    {"a_ring_in_use_is_left_alone", a_ring_in_use_is_left_alone},
    {"nothing_but_reads_is_done", nothing_but_reads_is_done},
    {"a_kernel_without_restrictions_is_told", a_kernel_without_restrictions_is_told},
};
TEST_MAIN(tests)
