/* Landlock, by its system calls: C libraries have no functions for them, and the kernel's header that a distribution
 * ships may be older than the kernel. */
#include "sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* include/uapi/linux/landlock.h of Linux 6.12. Each version of the interface knows the rights of those before it. */
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_REFER = 1 << 13,    /* version 2: renaming between folders */
    FS_TRUNCATE = 1 << 14, /* version 3 */
    FS_VERSION_1 = (1 << 13) - 1,
    FS_VERSION_5 = (1 << 16) - 1, /* ioctl on devices */
    FS_READS = FS_READ_FILE | FS_READ_DIR,
    FS_WRITES =
        FS_READS | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | 1 << 15,
    NET_ALL = 3,   /* version 4: binding and connecting TCP */
    SCOPE_ALL = 3, /* version 6: abstract UNIX sockets, signals */
    CREATE_RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
};

struct ruleset_attributes {
    uint64_t fs, net, scoped;
};

struct path_attributes {
    uint64_t allowed;
    int32_t folder;
} __attribute__((packed));

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

/* --- what may be used -------------------------------------------------------------------------------------------- */

static uint64_t rights_of(int version)
{
    uint64_t rights = FS_VERSION_1;
    rights |= version >= 2 ? FS_REFER : 0;
    rights |= version >= 3 ? FS_TRUNCATE : 0;
    return version >= 5 ? FS_VERSION_5 : rights;
}

/* What the C library, the engine's plan and the processors' count look at. Files of /proc/self come and go with their
 * inodes, to which rules are tied, so the rule is /proc's; other processes' memory stays closed, since Landlock lets
 * nobody trace those outside. */
static const char *const system_paths[] = {
    "/proc", "/sys", "/dev/null", "/dev/urandom", "/etc/localtime", "/usr/share/zoneinfo",
};

void sandbox_begin(struct sandbox *sandbox, bool is_wanted)
{
    *sandbox = (struct sandbox){.is_wanted = is_wanted, .ruleset = -1};
    if (!is_wanted)
        return;
    int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    if (version < 1)
        return;
    struct ruleset_attributes attributes = {
        .fs = rights_of(version), .net = version >= 4 ? NET_ALL : 0, .scoped = version >= 6 ? SCOPE_ALL : 0};
    sandbox->ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    sandbox->version = version;
    sandbox->all = attributes.fs;
    for (size_t i = 0; i < sizeof system_paths / sizeof *system_paths; i++)
        sandbox_allow(sandbox, system_paths[i], SANDBOX_READ);
}

/* A rule that cannot be made (a pipe under /dev/fd, which Landlock leaves alone) allows nothing: that is never unsafe.
 */
void sandbox_allow(struct sandbox *sandbox, const char *path, enum sandbox_access access)
{
    struct stat st;
    int fd = sandbox->ruleset >= 0 ? open(path, O_PATH | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    uint64_t rights = (access == SANDBOX_WRITE ? FS_WRITES : FS_READS) & sandbox->all;
    if (fstat(fd, &st) == 0) {
        struct path_attributes attributes = {S_ISDIR(st.st_mode) ? rights : rights & FS_OF_FILES, fd};
        syscall(SYS_landlock_add_rule, sandbox->ruleset, RULE_PATH_BENEATH, &attributes, 0);
    }
    close(fd);
}

/* Download caches keep a model as a folder of links into another one. */
void sandbox_allow_linked(struct sandbox *sandbox, const char *path)
{
    sandbox_allow(sandbox, path, SANDBOX_READ);
    DIR *folder = sandbox->ruleset >= 0 ? opendir(path) : NULL;
    if (!folder)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char target[PATH_MAX];
        struct stat st;
        if (fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISLNK(st.st_mode))
            continue;
        int n = snprintf(target, sizeof target, "%s/%s", path, entry->d_name);
        if (n > 0 && (size_t)n < sizeof target && stat(target, &st) == 0 && S_ISREG(st.st_mode))
            sandbox_allow(sandbox, target, SANDBOX_READ);
    }
    closedir(folder);
}

void sandbox_allow_output(struct sandbox *sandbox, const char *path)
{
    char copy[PATH_MAX];
    int n = snprintf(copy, sizeof copy, "%s", path);
    if (n > 0 && (size_t)n < sizeof copy)
        sandbox_allow(sandbox, dirname(copy), SANDBOX_WRITE);
}

void sandbox_allow_temporary(struct sandbox *sandbox)
{
    const char *path = getenv("TMPDIR");
    sandbox_allow(sandbox, path && *path ? path : "/var/tmp", SANDBOX_WRITE);
}

/* --- all threads ------------------------------------------------------------------------------------------------- */

/* Landlock confines the thread that asks and those it starts. Libraries have started threads before main (OpenBLAS
 * does), so each of them is made to ask for itself, in a signal handler, as the C library has all threads change their
 * user. The handler can be given nothing else than what stands here. */
static struct {
    _Atomic int ruleset;
    _Atomic unsigned n_confined, n_failed;
} others;

static bool restrict_thread(int ruleset)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

static void on_confine(int signal_number)
{
    int saved = errno;
    (void)signal_number;
    if (restrict_thread(atomic_load(&others.ruleset)))
        atomic_fetch_add(&others.n_confined, 1);
    else
        atomic_fetch_add(&others.n_failed, 1);
    errno = saved;
}

/* Sends the signal to every other thread; gives how many there are. */
static unsigned signal_others(int signal_number)
{
    unsigned n = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        long thread = strtol(entry->d_name, NULL, 10);
        if (thread > 0 && thread != syscall(SYS_gettid))
            n += syscall(SYS_tgkill, getpid(), thread, signal_number) == 0;
    }
    if (folder)
        closedir(folder);
    return n;
}

/* False where one of them could not be confined, or did not answer within a second: it may block the signal. The
 * handler then stays, for the answer may still come. */
static bool restrict_others(int ruleset)
{
    const struct timespec pause = {.tv_nsec = 100000};
    int signal_number = SIGRTMIN;
    struct sigaction before, action = {.sa_handler = on_confine, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    atomic_store(&others.ruleset, ruleset);
    if (sigaction(signal_number, &action, &before) != 0)
        return false;
    unsigned n = signal_others(signal_number);
    for (int i = 0; i < 10000 && atomic_load(&others.n_confined) + atomic_load(&others.n_failed) < n; i++)
        nanosleep(&pause, NULL);
    if (atomic_load(&others.n_confined) + atomic_load(&others.n_failed) == n)
        sigaction(signal_number, &before, NULL);
    return atomic_load(&others.n_confined) == n;
}

/* --- entering ---------------------------------------------------------------------------------------------------- */

static const char *restrict_files(struct sandbox *sandbox)
{
    if (sandbox->version < 1)
        return "no Landlock in this kernel";
    if (sandbox->ruleset < 0)
        return "Landlock refused";
    bool all = restrict_others(sandbox->ruleset);
    if (!restrict_thread(sandbox->ruleset))
        return "Landlock refused";
    return all ? "files by Landlock" : "files by Landlock, some threads of libraries not";
}

void sandbox_enter(struct sandbox *sandbox, char report[SANDBOX_REPORT_SIZE])
{
    if (!sandbox->is_wanted) {
        snprintf(report, SANDBOX_REPORT_SIZE, "sandbox: off");
        return;
    }
    const char *files = restrict_files(sandbox);
    char version[32] = "", calls[100] = "system calls by seccomp";
    if (sandbox->ruleset >= 0) {
        snprintf(version, sizeof version, " (version %d)", sandbox->version);
        close(sandbox->ruleset);
        sandbox->ruleset = -1;
    }
    int refused = sandbox_filter_calls();
    if (refused != 0)
        snprintf(calls, sizeof calls, "no seccomp (%s)",
                 refused == ENOTSUP ? "not in a build with sanitizers" : strerror(refused));
    snprintf(report, SANDBOX_REPORT_SIZE, "sandbox: %s%s, %s", files, version, calls);
}
