/* Files that are cut short under their readers: zeros and an error, not the end of the process. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "test.h"

enum { N_PAGES = 256, N_KEPT = 16, N_READERS = 4, N_TURNS = 50 };

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* A file of N_PAGES pages of ones, opened. */
static int make_file(char path[64])
{
    strcpy(path, "/tmp/quire-map-XXXXXX");
    int fd = mkstemp(path);
    size_t n = N_PAGES * page_bytes();
    unsigned char *bytes = malloc(n);
    memset(bytes, 1, n);
    if (fd < 0 || pwrite(fd, bytes, n, 0) != (ssize_t)n)
        exit(1);
    free(bytes);
    return fd;
}

static void truncate_file(int fd, size_t n_pages)
{
    if (ftruncate(fd, (off_t)(n_pages * page_bytes())) != 0)
        exit(1);
}

static size_t count_ones(const struct sys_map *map)
{
    const volatile unsigned char *data = map->data;
    size_t n = 0;
    for (size_t i = 0; i < map->n_bytes; i += 64)
        n += data[i];
    return n;
}

struct reading {
    const struct sys_map *map;
    atomic_bool is_over;
    atomic_size_t n_started;
};

static void *read_on(void *context)
{
    struct reading *reading = context;
    atomic_fetch_add(&reading->n_started, 1);
    while (!atomic_load(&reading->is_over))
        count_ones(reading->map);
    count_ones(reading->map);
    return NULL;
}

static void truncation_under_readers_is_an_error(void)
{
    quire_error err = {0};
    char path[64], other_path[64], place[64];
    struct sys_map map, other;
    int fd = make_file(path), other_fd = make_file(other_path);
    REQUIRE_OK(sys_map_file(&map, path, &err));
    REQUIRE_OK(sys_map_file(&other, other_path, &err));
    CHECK_OK(sys_map_check(&map, path, &err));
    struct reading reading = {.map = &map};
    pthread_t threads[N_READERS];
    for (int i = 0; i < N_READERS; i++)
        pthread_create(&threads[i], NULL, read_on, &reading);
    while (atomic_load(&reading.n_started) < N_READERS)
        usleep(100);
    truncate_file(fd, N_KEPT);
    atomic_store(&reading.is_over, true);
    for (int i = 0; i < N_READERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ_INT(count_ones(&map), 0); /* all of it: what is broken is not to be used by halves */
    CHECK_EQ_INT(sys_map_check(&map, path, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, path);
    CHECK_MESSAGE(err, "cut short");
    quire_error_clear(&err);
    CHECK_EQ_INT(count_ones(&other), N_PAGES * page_bytes() / 64);
    CHECK_OK(sys_map_check(&other, other_path, &err));
    sys_unmap(&map);
    sys_unmap(&other);
    /* The same slot, a new mapping: the old note is not its own. */
    REQUIRE_OK(sys_map_open_file(&map, other_fd, page_bytes(), other_path, &err));
    CHECK_OK(sys_map_check(&map, other_path, &err));
    sys_unmap(&map);
    /* The first page behind the file's new end is named. */
    truncate_file(fd, N_PAGES);
    REQUIRE_OK(sys_map_file(&map, path, &err));
    truncate_file(fd, N_KEPT);
    count_ones(&map);
    snprintf(place, sizeof place, "at byte %zu:", N_KEPT * page_bytes());
    CHECK_EQ_INT(sys_map_check(&map, path, &err), QUIRE_ERR_IO);
    CHECK_MESSAGE(err, place);
    sys_unmap(&map);
    close(fd);
    close(other_fd);
    unlink(path);
    unlink(other_path);
}

static sigjmp_buf way_out;
static volatile sig_atomic_t n_caught;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    n_caught++;
    if (info->si_code > 0)
        siglongjmp(way_out, 1);
}

static bool is_caught(void)
{
    struct sigaction now;
    sigaction(SIGBUS, NULL, &now);
    return (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_signal;
}

/* Signals that are not ours go to the handler that was there, which is put back at the end. */
static void other_signals_go_on(void)
{
    quire_error err = {0};
    char path[64];
    struct sys_map map;
    struct sigaction before, mine = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    int fd = make_file(path);
    sigaction(SIGBUS, &mine, &before);
    REQUIRE_OK(sys_map_file(&map, path, &err));
    CHECK(!is_caught());
    raise(SIGBUS);
    CHECK_EQ_INT(n_caught, 1);
    volatile unsigned char *foreign = mmap(NULL, N_PAGES * page_bytes(), PROT_READ, MAP_SHARED, fd, 0);
    truncate_file(fd, N_KEPT);
    if (sigsetjmp(way_out, 1) == 0)
        CHECK_EQ_INT(foreign[N_KEPT * page_bytes()], 2); /* not reached */
    CHECK_EQ_INT(n_caught, 2);
    CHECK_OK(sys_map_check(&map, path, &err));
    sys_unmap(&map);
    CHECK(is_caught());
    sigaction(SIGBUS, &before, NULL);
    munmap((void *)(uintptr_t)foreign, N_PAGES * page_bytes());
    close(fd);
    unlink(path);
}

/* Without any handler before, a touch of somebody else's truncated mapping still ends the process. */
static void foreign_faults_stay_deadly(void)
{
    char path[64];
    int fd = make_file(path), status = 0;
    pid_t child = fork();
    if (child == 0) {
        quire_error err = {0};
        struct sys_map map;
        signal(SIGBUS, SIG_DFL);
        REQUIRE_OK(sys_map_file(&map, path, &err));
        volatile unsigned char *foreign = mmap(NULL, N_PAGES * page_bytes(), PROT_READ, MAP_SHARED, fd, 0);
        truncate_file(fd, N_KEPT);
        _exit(foreign[N_KEPT * page_bytes()]);
    }
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    close(fd);
    unlink(path);
}

static int touch_what_is_cut_after_a_change_of_handlers(const char *path, int fd)
{
    quire_error err = {0};
    struct sys_map map;
    struct sigaction mine = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    REQUIRE_OK(sys_map_file(&map, path, &err));
    sigaction(SIGBUS, &mine, NULL);
    sys_unmap(&map);
    signal(SIGBUS, SIG_DFL);
    REQUIRE_OK(sys_map_file(&map, path, &err));
    truncate_file(fd, N_KEPT);
    (void)count_ones(&map);
    return sys_map_check(&map, path, &err) == QUIRE_ERR_IO ? 0 : 1;
}

/* A program sets a handler of its own, and takes it away while nothing is mapped: ours is there for the next mapping.
 */
static void the_handler_is_set_again(void)
{
    char path[64];
    int fd = make_file(path), status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(touch_what_is_cut_after_a_change_of_handlers(path, fd));
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(fd);
    unlink(path);
}

/* More mappings than a group of guards has, made and given back many times. */
static void many_mappings_are_guarded(void)
{
    enum { N_MAPS = 300 };
    quire_error err = {0};
    char path[64];
    static struct sys_map maps[N_MAPS];
    int fd = make_file(path);
    for (int turn = 0; turn < N_TURNS; turn++) {
        for (int i = 0; i < N_MAPS; i++)
            REQUIRE_OK(sys_map_open_file(&maps[i], fd, N_PAGES * page_bytes(), path, &err));
        if (turn + 1 == N_TURNS)
            truncate_file(fd, 0);
        for (int i = 0; i < N_MAPS; i++) {
            bool is_touched = turn + 1 == N_TURNS && i % 7 == 0;
            if (is_touched)
                count_ones(&maps[i]);
            CHECK_EQ_INT(sys_map_check(&maps[i], path, NULL), is_touched ? QUIRE_ERR_IO : QUIRE_OK);
        }
        for (int i = 0; i < N_MAPS; i++)
            sys_unmap(&maps[i]);
    }
    close(fd);
    unlink(path);
}

static const struct test tests[] = {
    {"truncation_under_readers_is_an_error", truncation_under_readers_is_an_error},
    {"other_signals_go_on", other_signals_go_on},
    {"foreign_faults_stay_deadly", foreign_faults_stay_deadly},
    {"the_handler_is_set_again", the_handler_is_set_again},
    {"many_mappings_are_guarded", many_mappings_are_guarded},
};

TEST_MAIN(tests)
