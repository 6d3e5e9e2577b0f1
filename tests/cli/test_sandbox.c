/* The program's own confinement, each time in a child that then tries what a parser that was taken over would try. */
#include "cli/sandbox.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "attempts.h"
#include "quire/reader.h"
#include "test.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif

#ifdef TEST_SANITIZED
enum { HAS_SECCOMP = false };
#else
enum { HAS_SECCOMP = true };
#endif

/* ThreadSanitizer has a thread of its own and keeps signals back from the others, so that they cannot be confined. */
#if defined(__SANITIZE_THREAD__)
#define THREADS_CAN_BE_CONFINED 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_CAN_BE_CONFINED 0
#endif
#endif
#ifndef THREADS_CAN_BE_CONFINED
#define THREADS_CAN_BE_CONFINED 1
#endif

static char scratch[64], inside[128], outside[128];

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 1;
}

/* Makes one system call fail with ENOSYS from here on: a kernel that does not have it. */
static void take_away(int call)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

static void enter(bool is_wanted, char report[SANDBOX_REPORT_SIZE])
{
    struct sandbox sandbox;
    sandbox_begin(&sandbox, is_wanted);
    sandbox_allow(&sandbox, inside, SANDBOX_WRITE);
    sandbox_allow(&sandbox, "/no/such/path", SANDBOX_READ);
    sandbox_enter(&sandbox, report);
}

/* Runs the checks of `child` in a process of its own; what fails there fails here. */
static void in_a_child(void (*child)(void))
{
    int status;
    fflush(stderr);
    pid_t pid = fork();
    if (pid == 0) {
        test_n_failed_checks = 0;
        child();
        fflush(stderr);
        _exit(test_n_failed_checks > 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ_INT(status, 0);
}

static void check_calls_are_refused(void)
{
    for (size_t i = 0; i < N_ATTEMPTS; i++) {
        int error = attempts[i].run();
        if (error != attempts[i].refused) {
            fprintf(stderr, "%s gives %d, expected %d\n", attempts[i].name, error, attempts[i].refused);
            test_n_failed_checks++;
        }
    }
}

/* Those that no kernel has a reason of its own to refuse. */
static void check_calls_work(void)
{
    CHECK_EQ_INT(try_inet_socket(), 0);
    CHECK_EQ_INT(try_fork(), 0);
    CHECK_EQ_INT(try_exec(), 0);
    CHECK_EQ_INT(try_code(), 0);
}

/* AMX's registers may be asked for; the kernel may have none to give. Nothing else of the kind. */
static void check_amx_can_be_asked_for(void)
{
#if defined(__x86_64__)
    enum { GET_FS = 0x1003, REQUEST_STATE = 0x1023, TILE_DATA = 18 };
    unsigned long fs;
    CHECK(syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0 || errno != ENOSYS);
    CHECK(syscall(SYS_arch_prctl, GET_FS, &fs) != 0 && errno == ENOSYS);
#endif
}

static void check_files(bool are_refused)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/file", inside);
    CHECK_EQ_INT(try_write(path), 0);
    CHECK_EQ_INT(try_write(outside), are_refused ? EACCES : 0);
    CHECK_EQ_INT(try_read("/etc/passwd"), are_refused ? EACCES : 0);
    CHECK_EQ_INT(try_read("/proc/self/status"), 0);
    CHECK_EQ_INT(mkdir(outside, 0700) == 0 ? 0 : errno, are_refused ? EACCES : 0);
    CHECK_EQ_INT(stat("/etc/passwd", &st), 0);
    rmdir(outside);
}

static void child_with_both(void)
{
    char report[SANDBOX_REPORT_SIZE];
    bool landlock = has_landlock();
    enter(true, report);
    CHECK((strstr(report, "files by Landlock (version") != NULL) == landlock);
    CHECK((strstr(report, "system calls by seccomp") != NULL) == HAS_SECCOMP);
    if (HAS_SECCOMP) {
        check_calls_are_refused();
        check_amx_can_be_asked_for();
    }
    check_files(landlock);
}

static void nothing_but_what_was_named_can_be_used(void)
{
    if (!THREADS_CAN_BE_CONFINED)
        SKIP("ThreadSanitizer does not let threads be confined");
    in_a_child(child_with_both);
}

static void child_without_landlock(void)
{
    char report[SANDBOX_REPORT_SIZE];
    take_away(SYS_landlock_create_ruleset);
    enter(true, report);
    CHECK(strstr(report, "no Landlock in this kernel") != NULL);
    if (HAS_SECCOMP)
        check_calls_are_refused();
    check_files(false);
}

static void seccomp_holds_without_landlock(void)
{
    in_a_child(child_without_landlock);
}

static void child_without_seccomp(void)
{
    char report[SANDBOX_REPORT_SIZE];
    bool landlock = has_landlock();
    take_away(SYS_seccomp);
    enter(true, report);
    CHECK(strstr(report, "no seccomp (") != NULL);
    check_calls_work();
    check_files(landlock);
}

static void landlock_holds_without_seccomp(void)
{
    in_a_child(child_without_seccomp);
}

static void child_that_does_not_want_it(void)
{
    char report[SANDBOX_REPORT_SIZE];
    enter(false, report);
    CHECK_EQ_STR(report, "sandbox: off");
    check_calls_work();
    check_files(false);
}

static void it_can_be_turned_off(void)
{
    in_a_child(child_that_does_not_want_it);
}

static atomic_int go;

static void *attempt_later(void *result)
{
    while (!atomic_load(&go))
        usleep(100);
    *(int *)result = try_write(outside);
    return NULL;
}

/* A library may have started threads before. */
static void child_with_threads(void)
{
    enum { N = 5 };
    pthread_t threads[N];
    int results[N];
    char report[SANDBOX_REPORT_SIZE];
    bool landlock = has_landlock();
    for (int i = 0; i < N; i++)
        CHECK(pthread_create(&threads[i], NULL, attempt_later, &results[i]) == 0);
    enter(true, report);
    CHECK(strstr(report, "some threads") == NULL);
    atomic_store(&go, 1);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQ_INT(results[i], landlock ? EACCES : 0);
    }
    CHECK(pthread_create(&threads[0], NULL, attempt_later, &results[0]) == 0);
    pthread_join(threads[0], NULL);
    CHECK_EQ_INT(results[0], landlock ? EACCES : 0);
}

static void threads_that_were_there_are_confined(void)
{
    if (!THREADS_CAN_BE_CONFINED)
        SKIP("ThreadSanitizer does not let threads be confined");
    in_a_child(child_with_threads);
}

/* A folder of links, as a download cache has it: the files are read, their neighbours are not. */
static void child_with_links(void)
{
    char report[SANDBOX_REPORT_SIZE], path[256];
    struct sandbox sandbox;
    bool landlock = has_landlock();
    sandbox_begin(&sandbox, true);
    snprintf(path, sizeof path, "%s/model", scratch);
    sandbox_allow_linked(&sandbox, path);
    snprintf(path, sizeof path, "%s/out/book", scratch);
    sandbox_allow_output(&sandbox, path);
    sandbox_enter(&sandbox, report);
    CHECK_EQ_INT(try_write(path), 0);
    snprintf(path, sizeof path, "%s/model/weights", scratch);
    CHECK_EQ_INT(try_read(path), 0);
    CHECK_EQ_INT(close_or_errno(open(path, O_WRONLY | O_CLOEXEC)), landlock ? EACCES : 0);
    snprintf(path, sizeof path, "%s/blobs/other", scratch);
    CHECK_EQ_INT(try_read(path), landlock ? EACCES : 0);
}

static void make_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    if (file)
        fclose(file);
}

static void links_of_a_model_are_followed(void)
{
    static const char *const folders[] = {"model", "blobs", "out"};
    char path[256];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, folders[i]);
        CHECK(mkdir(path, 0700) == 0);
    }
    make_file("blobs/1234");
    make_file("blobs/other");
    snprintf(path, sizeof path, "%s/model/weights", scratch);
    CHECK(symlink("../blobs/1234", path) == 0);
    in_a_child(child_with_links);
    unlink(path);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/blobs/%s", scratch, i ? "1234" : "other");
        unlink(path);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, folders[i]);
        CHECK(rmdir(path) == 0);
    }
}

static void remove_scratch(void)
{
    rmdir(inside);
    rmdir(scratch);
}

static void a_folder_to_work_in(void)
{
    strcpy(scratch, "/tmp/quire-sandbox-XXXXXX");
    CHECK(mkdtemp(scratch) != NULL);
    snprintf(inside, sizeof inside, "%s/inside", scratch);
    snprintf(outside, sizeof outside, "%s/outside", scratch);
    CHECK(mkdir(inside, 0700) == 0);
    atexit(remove_scratch);
}

/* The one ring that is there. */
static void child_with_a_ring(void)
{
    char report[SANDBOX_REPORT_SIZE], path[256];
    struct sandbox sandbox;
    quire_reader_ring *ring = NULL;
    quire_reader *reader;
    quire_error err = {0};
    const char *bytes;
    size_t n;
    bool has_ring = quire_reader_ring_open(&ring, &err) == QUIRE_OK;
    snprintf(path, sizeof path, "%s/text", inside);
    sandbox_begin(&sandbox, true);
    sandbox_allow(&sandbox, path, SANDBOX_READ);
    sandbox_enter(&sandbox, report);
    for (int i = 0; i < 3; i++) {
        REQUIRE_OK(quire_reader_open(&reader, path, &(quire_reader_options){.ring = ring}, &err));
        CHECK(strncmp(quire_reader_backend(reader), has_ring ? "io_uring" : "pread", 5) == 0);
        CHECK_OK(quire_reader_next(reader, &bytes, &n, &err));
        CHECK(n == 5 && memcmp(bytes, "words", 5) == 0);
        quire_reader_close(reader);
    }
    CHECK(!HAS_SECCOMP || try_ring() == EPERM);
}

static void a_ring_that_was_made_before_reads(void)
{
    char path[256];
    snprintf(path, sizeof path, "%s/text", inside);
    FILE *file = fopen(path, "we");
    CHECK(file && fputs("words", file) >= 0 && fclose(file) == 0);
    in_a_child(child_with_a_ring);
    unlink(path);
}

static const struct test tests[] = {
    {"a_folder_to_work_in", a_folder_to_work_in},
    {"nothing_but_what_was_named_can_be_used", nothing_but_what_was_named_can_be_used},
    {"seccomp_holds_without_landlock", seccomp_holds_without_landlock},
    {"landlock_holds_without_seccomp", landlock_holds_without_seccomp},
    {"it_can_be_turned_off", it_can_be_turned_off},
    {"threads_that_were_there_are_confined", threads_that_were_there_are_confined},
    {"links_of_a_model_are_followed", links_of_a_model_are_followed},
    {"a_ring_that_was_made_before_reads", a_ring_that_was_made_before_reads},
};
TEST_MAIN(tests)
