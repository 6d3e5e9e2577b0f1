/* Pipes, FIFOs, terminals, sockets and devices. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>
#include <time.h>

#include "base/sys.h"
#include "reader/reader_test.h"

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A writer on its own thread, with signals blocked: they are for the reader. */
struct writer {
    pthread_t thread;
    const char *path; /* a FIFO to open, or NULL: fd is open */
    int fd;
    const char *bytes;
    size_t n, step;
    bool waits; /* for each step to be read, so that reads end where writes do */
    atomic_bool is_reader_done;
};

static void *write_all(void *argument)
{
    struct writer *w = argument;
    if (w->path)
        w->fd = open(w->path, O_WRONLY);
    for (size_t i = 0; i < w->n;) {
        size_t n = w->step < w->n - i ? w->step : w->n - i;
        ssize_t written = write(w->fd, w->bytes + i, n);
        if (written <= 0)
            break;
        i += (size_t)written;
        int n_unread = w->waits;
        while (n_unread > 0 && !atomic_load(&w->is_reader_done) && ioctl(w->fd, FIONREAD, &n_unread) == 0)
            usleep(20);
    }
    close(w->fd);
    return NULL;
}

static void start(struct writer *w)
{
    sigset_t all, saved;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    if (pthread_create(&w->thread, NULL, write_all, w) != 0)
        exit(1);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

/* Puts fd in the place of standard input, and takes it over; restore_input puts the old one back. */
static int replace_input(int fd)
{
    int saved = dup(STDIN_FILENO);
    dup2(fd, STDIN_FILENO);
    close(fd);
    return saved;
}

static void restore_input(int saved)
{
    if (saved < 0)
        close(STDIN_FILENO);
    else
        dup2(saved, STDIN_FILENO);
    if (saved >= 0)
        close(saved);
}

static struct reading read_piped(const char *bytes, size_t n, size_t step, bool waits, const quire_reader_options *opts)
{
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    struct writer writer = {.fd = ends[1], .bytes = bytes, .n = n, .step = step, .waits = waits};
    int saved = replace_input(ends[0]);
    start(&writer);
    struct reading reading = read_whole("-", opts);
    atomic_store(&writer.is_reader_done, true);
    restore_input(saved);
    pthread_join(writer.thread, NULL);
    return reading;
}

static char *make_fifo(void)
{
    char *path = make_file("", 0);
    unlink(path);
    if (mkfifo(path, 0600) != 0)
        exit(1);
    return path;
}

static void a_pipe_gives_what_was_written(void)
{
    static const size_t steps[] = {1, 3, 700, 4096, 100000};
    size_t n = 200001;
    char *text = make_text(n, 1);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        size_t n_text = steps[i] < 100 ? 3000 : n;
        text[n_text - 1] = '.';
        while ((text[n_text - 2] & 0x80) != 0) /* no character cut by the shorter length */
            text[--n_text - 1] = '.';
        quire_reader_options opts = {.buffer_bytes = i * 1000};
        struct reading reading = read_piped(text, n_text, steps[i], false, &opts);
        CHECK(is_reading(&reading, text, n_text));
        CHECK_EQ_STR(reading.backend, "read");
        CHECK_EQ_INT(reading.size, -1);
        CHECK_EQ_INT(reading.n_taken, n_text);
        drop_reading(&reading);
    }
    struct reading reading = read_piped("", 0, 1, false, NULL);
    CHECK(is_reading(&reading, "", 0));
    drop_reading(&reading);
    free(text);
}

static void characters_and_marks_survive_single_byte_writes(void)
{
    static const char text[] = "\xEF\xBB\xBFx\r\n\xC3\xA9z\xE2\x82\xAC\xF0\x9F\x93\x96";
    struct reading reading = read_piped(text, sizeof text - 1, 1, true, NULL);
    CHECK(is_reading(&reading, text + 3, sizeof text - 1 - 3));
    CHECK_EQ_INT(reading.n_taken, sizeof text - 1);
    drop_reading(&reading);
    reading = read_piped(text, 3, 1, true, NULL);
    CHECK(is_reading(&reading, "", 0));
    drop_reading(&reading);
    reading = read_piped(text, 2, 1, true, NULL);
    CHECK_EQ_INT(reading.status, QUIRE_ERR_TEXT);
    CHECK_MESSAGE(reading.err, "standard input is not valid UTF-8 at byte 0 (0xef 0xbb, where the text ends)");
    drop_reading(&reading);
}

static void invalid_bytes_are_named_or_replaced_across_writes(void)
{
    static const char text[] = "ab\xE2\x82y\xF0\x9F\xFFz\xE2\x82";
    for (int waits = 0; waits < 2; waits++) {
        struct reading reading = read_piped(text, sizeof text - 1, 1, waits, NULL);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_TEXT);
        CHECK_MESSAGE(reading.err, "at byte 2 (0xe2 0x82)");
        CHECK(reading.n == 2 && memcmp(reading.bytes, "ab", 2) == 0);
        drop_reading(&reading);
        quire_reader_options opts = {.lossy = true};
        reading = read_piped(text, sizeof text - 1, 1, waits, &opts);
        CHECK(is_reading(&reading, "ab\xEF\xBF\xBDy\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD", 16));
        CHECK_EQ_INT(reading.n_replaced, 4);
        drop_reading(&reading);
    }
}

static void a_fifo_is_waited_for_and_read(void)
{
    char *text = make_text(100000, 2), *path = make_fifo();
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        quire_reader_options opts = {.no_uring = reader_ways[way].no_uring};
        struct reading reading = {0};
        quire_reader *reader;
        quire_error err = {0};
        REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err)); /* before there is a writer */
        struct writer writer = {.path = path, .bytes = text, .n = 100000, .step = 5000};
        start(&writer);
        read_rest(&reading, reader);
        pthread_join(writer.thread, NULL);
        CHECK(is_reading(&reading, text, 100000));
        CHECK_EQ_STR(reading.backend, "read");
        drop_reading(&reading);
    }
    drop_file(path);
    free(text);
}

static void a_socket_a_terminal_and_a_device_are_read(void)
{
    int ends[2];
    CHECK_EQ_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_EQ_INT(write(ends[1], "socket", 6), 6);
    close(ends[1]);
    int saved = replace_input(ends[0]);
    struct reading reading = read_whole("-", NULL);
    CHECK(is_reading(&reading, "socket", 6));
    drop_reading(&reading);
    restore_input(saved);

    reading = read_whole("/dev/null", NULL);
    CHECK(is_reading(&reading, "", 0));
    CHECK_EQ_INT(reading.size, -1);
    drop_reading(&reading);

    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
        SKIP("no terminal to be had");
    quire_reader *reader;
    quire_error err = {0};
    char name[64];
    CHECK_EQ_INT(ptsname_r(terminal, name, sizeof name), 0);
    REQUIRE_OK(quire_reader_open(&reader, name, NULL, &err));
    CHECK_EQ_INT(write(terminal, "typed\n\x04", 7), 7); /* a line, and end of input */
    read_rest(&reading, reader);
    CHECK(is_reading(&reading, "typed\n", 6));
    drop_reading(&reading);
    close(terminal);
}

static void a_closed_input_is_said(void)
{
    int saved = dup(STDIN_FILENO);
    close(STDIN_FILENO);
    struct reading reading = read_whole("-", NULL);
    CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
    CHECK_EQ_STR(reading.err.message, "cannot stat standard input: Bad file descriptor");
    if (saved >= 0)
        restore_input(saved);
}

static volatile sig_atomic_t n_signals;
static quire_reader *volatile to_cancel;

static void count_signal(int number)
{
    (void)number;
    n_signals = n_signals + 1;
}

static void cancel_on_signal(int number)
{
    (void)number;
    quire_reader_cancel(to_cancel);
}

static void set_timer(void (*handler)(int), int flags, suseconds_t first_us, suseconds_t every_us)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {.it_interval = {.tv_usec = every_us}, .it_value = {.tv_usec = first_us}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void a_storm_of_signals_changes_nothing(void)
{
    char *text = make_text(20000, 3);
    n_signals = 0;
    set_timer(count_signal, 0, 100, 100);
    struct reading reading = read_piped(text, 20000, 100, true, NULL);
    set_timer(SIG_IGN, 0, 0, 0);
    CHECK(is_reading(&reading, text, 20000));
    CHECK(n_signals > 0);
    drop_reading(&reading);
    free(text);
}

/* A read interrupted after poll said that there is something: EINTR and EAGAIN from read itself. */
static ssize_t halting_read(int fd, void *buffer, size_t n)
{
    static unsigned n_calls;
    if (++n_calls % 3 != 0) {
        errno = n_calls % 3 == 1 ? EINTR : EAGAIN;
        return -1;
    }
    return sys_real.read(fd, buffer, n < 7 ? n : 7);
}

static ssize_t failing_read(int fd, void *buffer, size_t n)
{
    (void)fd, (void)buffer, (void)n;
    errno = EIO;
    return -1;
}

static void reads_are_repeated_or_fail(void)
{
    char *text = make_text(3000, 4);
    sys.read = halting_read;
    struct reading reading = read_piped(text, 3000, 1000, false, NULL);
    CHECK(is_reading(&reading, text, 3000));
    drop_reading(&reading);
    sys.read = failing_read;
    reading = read_piped(text, 3000, 1000, false, NULL);
    sys = sys_real;
    CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
    CHECK_EQ_STR(reading.err.message, "cannot read standard input at byte 0: Input/output error");
    drop_reading(&reading);
    free(text);
}

/* Whatever the handler's flags: poll is never restarted, and the wake-up cannot come too early. */
static void a_signal_handler_cancels_a_blocked_read(void)
{
    static const int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 2; i++) {
        char *path = make_fifo(); /* without a writer: blocked for ever */
        struct reading reading = {0};
        quire_reader *reader;
        quire_error err = {0};
        REQUIRE_OK(quire_reader_open(&reader, path, NULL, &err));
        to_cancel = reader;
        double begin = seconds();
        set_timer(cancel_on_signal, flags[i], 30000, 0);
        read_rest(&reading, reader);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_CANCELLED);
        CHECK(seconds() - begin < 1);
        set_timer(SIG_IGN, 0, 0, 0);
        drop_file(path);
    }
}

static void *cancel_later(void *reader)
{
    usleep(20000);
    quire_reader_cancel(reader);
    return NULL;
}

static void another_thread_cancels_a_blocked_read(void)
{
    int ends[2];
    CHECK_EQ_INT(pipe(ends), 0);
    int saved = replace_input(ends[0]);
    quire_reader *reader;
    quire_error err = {0};
    const char *bytes;
    size_t n;
    pthread_t thread;
    REQUIRE_OK(quire_reader_open(&reader, "-", NULL, &err));
    CHECK_EQ_INT(write(ends[1], "some\xE2", 5), 5);
    CHECK_OK(quire_reader_next(reader, &bytes, &n, &err));
    CHECK(n == 4 && memcmp(bytes, "some", 4) == 0);
    double begin = seconds();
    CHECK_EQ_INT(pthread_create(&thread, NULL, cancel_later, reader), 0);
    CHECK_EQ_INT(quire_reader_next(reader, &bytes, &n, &err), QUIRE_ERR_CANCELLED);
    CHECK_EQ_STR(err.message, "reading standard input was stopped");
    CHECK(seconds() - begin < 1);
    CHECK_EQ_INT(quire_reader_n_bytes(reader), 4);
    pthread_join(thread, NULL);
    quire_reader_close(reader);
    restore_input(saved);
    close(ends[1]);
}

static void streams_follow_each_other_and_leave_nothing(void)
{
    int n_open = count_open_files();
    for (int i = 0; i < 100; i++) {
        struct reading reading = read_piped("text", 4, 2, false, NULL);
        CHECK(is_reading(&reading, "text", 4));
        drop_reading(&reading);
    }
    CHECK_EQ_INT(count_open_files(), n_open);
}

static const struct test tests[] = {
    {"a_pipe_gives_what_was_written", a_pipe_gives_what_was_written},
    {"characters_and_marks_survive_single_byte_writes", characters_and_marks_survive_single_byte_writes},
    {"invalid_bytes_are_named_or_replaced_across_writes", invalid_bytes_are_named_or_replaced_across_writes},
    {"a_fifo_is_waited_for_and_read", a_fifo_is_waited_for_and_read},
    {"a_socket_a_terminal_and_a_device_are_read", a_socket_a_terminal_and_a_device_are_read},
    {"a_closed_input_is_said", a_closed_input_is_said},
    {"a_storm_of_signals_changes_nothing", a_storm_of_signals_changes_nothing},
    {"reads_are_repeated_or_fail", reads_are_repeated_or_fail},
    {"a_signal_handler_cancels_a_blocked_read", a_signal_handler_cancels_a_blocked_read},
    {"another_thread_cancels_a_blocked_read", another_thread_cancels_a_blocked_read},
    {"streams_follow_each_other_and_leave_nothing", streams_follow_each_other_and_leave_nothing},
};

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that stops early closes its end on the writer */
    return test_main(tests, sizeof tests / sizeof tests[0], argc, argv);
}
