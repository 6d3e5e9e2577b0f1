/* Whole files: what is none is refused at once, and what changes or says a wrong size is read to its end or refused. */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"
#include "test.h"

enum { MOST_SECONDS = 20, MOST_BYTES = 1 << 20 };

/* A folder of its own; a test that hangs ends the program. */
static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void begin(void)
{
    strcpy(folder, "/tmp/quire-sys-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    alarm(MOST_SECONDS);
}

static void end(const char *name)
{
    alarm(0);
    sys = sys_real;
    if (name)
        unlink(in_folder(name));
    CHECK_EQ_INT(rmdir(folder), 0);
}

static void check_refused(const char *path, const char *what)
{
    struct sys_map map;
    char *text;
    size_t n;
    quire_error err = {0};
    CHECK_EQ_INT(sys_map_file(&map, path, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, what);
    CHECK_MESSAGE(err, path);
    quire_error_clear(&err);
    CHECK_EQ_INT(sys_read_file(&text, &n, path, MOST_BYTES, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, what);
}

static void what_is_no_file_is_refused_at_once(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    begin();
    check_refused(folder, "is a folder, expected a regular file");
    check_refused("/dev/zero", "is a device, expected a regular file");
    CHECK_EQ_INT(mkfifo(in_folder("x"), 0600), 0);
    check_refused(in_folder("x"), "is a FIFO, expected a regular file");
    unlink(in_folder("x"));
    strcpy(address.sun_path, in_folder("x"));
    CHECK_EQ_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    check_refused(in_folder("x"), "is a socket, expected a regular file");
    close(fd);
    end("x");
}

/* A descriptor's name leads to what it is: here the reading end of a pipe whose writer is there, and silent. */
static void a_descriptor_of_a_pipe_is_refused_at_once(void)
{
    int ends[2];
    char path[64];
    begin();
    CHECK_EQ_INT(pipe(ends), 0);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    check_refused(path, "is a FIFO");
    close(ends[0]);
    close(ends[1]);
    end(NULL);
}

/* It comes between the look at the path and its opening. */
static int open_a_fifo(const char *path, int flags, mode_t mode)
{
    unlink(path);
    return mkfifo(path, 0600) == 0 ? sys_real.open(path, flags, mode) : -1;
}

static void a_fifo_in_the_place_of_a_file_is_refused_at_once(void)
{
    struct sys_map map;
    quire_error err = {0};
    begin();
    close(open(in_folder("x"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    sys.open = open_a_fifo;
    CHECK_EQ_INT(sys_map_file(&map, in_folder("x"), &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "is a FIFO");
    end("x");
}

static void a_file_of_no_size_is_read_and_not_mapped(void)
{
    struct sys_map map;
    char *text = NULL;
    size_t n = 0;
    quire_error err = {0};
    begin();
    CHECK_OK(sys_read_file(&text, &n, "/proc/self/status", MOST_BYTES, &err));
    CHECK(text && n > 200 && strlen(text) == n && strncmp(text, "Name:", 5) == 0 && strstr(text, "Threads:"));
    free(text);
    CHECK_EQ_INT(sys_map_file(&map, "/proc/self/status", &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "does not say how many bytes it has");
    quire_error_clear(&err);
    CHECK_EQ_INT(sys_read_file(&text, &n, "/proc/self/status", 100, &err), QUIRE_ERR_FORMAT);
    CHECK_MESSAGE(err, "expected at most 100");
    end(NULL);
}

/* What fstat says is off by this. */
static off_t n_more;

static int fstat_wrongly(int fd, struct stat *st)
{
    int result = sys_real.fstat(fd, st);
    st->st_size += n_more;
    return result;
}

static void a_file_that_grows_is_read_to_its_end_and_one_that_shrinks_is_refused(void)
{
    enum { N = 100000 };
    char *text = NULL, bytes[N];
    size_t n = 0;
    quire_error err = {0};
    begin();
    int fd = open(in_folder("x"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    memset(bytes, 'a', N);
    CHECK_EQ_INT(write(fd, bytes, N), N);
    close(fd);
    sys.fstat = fstat_wrongly;
    for (n_more = -N; n_more <= 0; n_more += N / 4) {
        CHECK_OK(sys_read_file(&text, &n, in_folder("x"), MOST_BYTES, &err));
        CHECK(n == N && text[N] == '\0' && memcmp(text, bytes, N) == 0);
        free(text);
    }
    n_more = -1;
    CHECK_EQ_INT(sys_read_file(&text, &n, in_folder("x"), N - 1, &err), QUIRE_ERR_FORMAT);
    quire_error_clear(&err);
    n_more = 1;
    CHECK_EQ_INT(sys_read_file(&text, &n, in_folder("x"), MOST_BYTES, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, "became shorter while it was read: it ends at byte 100000, and had 100001");
    end("x");
}

static const struct test tests[] = {
    {"what_is_no_file_is_refused_at_once", what_is_no_file_is_refused_at_once},
    {"a_descriptor_of_a_pipe_is_refused_at_once", a_descriptor_of_a_pipe_is_refused_at_once},
    {"a_fifo_in_the_place_of_a_file_is_refused_at_once", a_fifo_in_the_place_of_a_file_is_refused_at_once},
    {"a_file_of_no_size_is_read_and_not_mapped", a_file_of_no_size_is_read_and_not_mapped},
    {"a_file_that_grows_is_read_to_its_end_and_one_that_shrinks_is_refused",
     a_file_that_grows_is_read_to_its_end_and_one_that_shrinks_is_refused},
};

TEST_MAIN(tests)
