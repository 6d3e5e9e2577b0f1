/* The sandbox. Files from strangers are parsed by code that may have bugs; before a run opens one it gives up, for
 * good, what it has no use for:
 *
 *     files     Landlock: reading what was named, writing below the store, the folder of temporary files and the
 *               folders of named outputs; nothing else, and nothing is executed
 *     network   seccomp: no sockets. Landlock, where the kernel's version has it: no TCP besides
 *     calls     seccomp: a list of those that reading, computing and writing take. No programs are started, no
 *               other process is traced or signalled, no memory becomes executable, no io_uring is made: its
 *               operations would pass by the filter. One that can only read may be there (quire/reader.h).
 *
 * What was open before stays open. A kernel without one of the two gets the other; -v says what is in force. It is the
 * program that confines itself: the library never does that to its caller. */
#ifndef QUIRE_CLI_SANDBOX_H
#define QUIRE_CLI_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Builds with a sanitizer do without: its runtime makes system calls of its own, and at the end traces the program's
 * threads in search of leaks, which Landlock lets no thread do to another that was confined on its own. */
#ifdef QUIRE_SANITIZED
enum { SANDBOX_IS_USED = false };
#else
enum { SANDBOX_IS_USED = true };
#endif

enum sandbox_access {
    SANDBOX_READ,
    SANDBOX_WRITE, /* also reads, makes, renames and removes */
};

struct sandbox {
    bool is_wanted;
    int ruleset;  /* Landlock's; -1: none */
    int version;  /* Landlock's; 0: the kernel has none */
    uint64_t all; /* the rights that this version knows */
};

enum { SANDBOX_REPORT_SIZE = 256 };

/* Starts a list of what may be used; it has what every run needs of the system. is_wanted: false for --no-sandbox. */
void sandbox_begin(struct sandbox *sandbox, bool is_wanted);

/* Lets a file, or all below a folder, be used. A path that leads nowhere, or is no file, needs no leave. */
void sandbox_allow(struct sandbox *sandbox, const char *path, enum sandbox_access access);

/* Lets a model or texts be read: a file, or a folder with the files that its links lead to. */
void sandbox_allow_linked(struct sandbox *sandbox, const char *path);

/* Lets files be made and removed in the folder where path is, or will be. */
void sandbox_allow_output(struct sandbox *sandbox, const char *path);

/* Lets the folder of temporary files be used: an engine keeps there what does not fit in memory. */
void sandbox_allow_temporary(struct sandbox *sandbox);

/* From here on all threads of this process have these rights and no others. To be called before the program starts
 * threads of its own. The report says in words what is in force. */
void sandbox_enter(struct sandbox *sandbox, char report[SANDBOX_REPORT_SIZE]);

/* The filter of system calls, for all threads of this process; 0 or an errno value, ENOTSUP where the program was built
 * without it. */
int sandbox_filter_calls(void);

#endif
