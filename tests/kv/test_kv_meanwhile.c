/* What another process does to a book between the look that its owner's work takes at it and the lock. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/sys.h"
#include "kv_owner_test.h"

/* Something that happens once, just before the book's writer's lock is opened, or just before it is taken. */
static struct {
    struct owner_fixture *fixture;
    void (*act)(struct owner_fixture *f);
    char lock[KV_PATH_SIZE];
} meanwhile;

static void happen(const char *path)
{
    if (strcmp(path, meanwhile.lock) != 0)
        return;
    sys = sys_real;
    meanwhile.act(meanwhile.fixture);
}

static int open_late(const char *path, int flags, mode_t mode)
{
    happen(path);
    return sys_real.open(path, flags, mode);
}

static int lock_late(int fd, int operation)
{
    char name[64], path[KV_PATH_SIZE] = "";
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, path, sizeof path - 1);
    if (n > 0)
        happen(path);
    return sys_real.flock(fd, operation);
}

enum moment { BEFORE_OPENING, BEFORE_LOCKING };

static void when_locked(struct owner_fixture *f, int which, enum moment moment, void (*act)(struct owner_fixture *f))
{
    char folder[KV_PATH_SIZE];
    owner_book_path(folder, f, which);
    kv_path(meanwhile.lock, folder, "lock");
    meanwhile.fixture = f;
    meanwhile.act = act;
    if (moment == BEFORE_OPENING)
        sys.open = open_late;
    else
        sys.flock = lock_late;
}

/* It happened. */
static bool was_locked(void)
{
    bool has_happened = sys.open == sys_real.open && sys.flock == sys_real.flock;
    sys = sys_real;
    return has_happened;
}

static void read_third_text(struct owner_fixture *f)
{
    quire_error err = {0};
    struct kv_book *book;
    struct kv_store *store = kv_test_store(f->folder, &f->geometry);
    REQUIRE_OK(kv_test_read(&book, store, &f->geometry, f->texts[2], N, NULL, &err));
    CHECK_EQ_INT(book->manifest.id, f->ids[2]);
    kv_book_close(book);
    kv_store_close(store);
}

/* A span in flight that cannot be gone on with, and nothing else: of no use, until a reading begins it anew. */
static void gc_judges_what_is_there_under_the_lock(void)
{
    struct owner_fixture f;
    quire_error err = {0};
    struct kv_book *book;
    float residual[100] = {1, 2, 3};
    uint64_t n_bytes;
    owner_set_up(&f);
    f.texts[2][0]++; /* a text that no book has */
    REQUIRE_OK(kv_book_open(&book, f.store, f.texts[2], N, false, &err));
    f.ids[2] = book->manifest.id;
    REQUIRE_OK(kv_test_put_layer(book, &f.geometry, 0, f.texts[2], 0, 150, &err));
    struct kv_flight flight = {.span_end = N, .phase = 1, .kv_token = 150};
    REQUIRE_OK(kv_book_save_flight(book, f.texts[2], N, &flight, residual, sizeof residual, &err));
    kv_book_close(book);
    owner_flip(&f, 2, "residual.1", 30);
    when_locked(&f, 2, BEFORE_LOCKING, read_third_text);
    quire_store_watch w = owner_watch(&f);
    CHECK_OK(quire_store_collect(f.owner, &w, &n_bytes, &err));
    CHECK(was_locked());
    CHECK_EQ_STR(f.all_done, "");
    CHECK_EQ_INT(owner_verify(&f, 0), 0);
    owner_check_reads(&f, 2, N);
    owner_tear_down(&f);
}

static void remove_branch(struct owner_fixture *f)
{
    quire_error err = {0};
    quire_store *owner;
    REQUIRE_OK(quire_store_open(&owner, f->folder, false, &err));
    CHECK_OK(quire_store_remove(owner, f->ids[1], false, NULL, &err));
    quire_store_close(owner);
}

/* Its folder is gone before the lock can be opened, or the lock that was opened is that of a folder that is gone. */
static void a_book_that_is_gone_is_removed(void)
{
    for (enum moment moment = BEFORE_OPENING; moment <= BEFORE_LOCKING; moment++) {
        struct owner_fixture f;
        quire_error err = {0};
        uint64_t n_bytes = 1;
        owner_set_up(&f);
        owner_check_reads(&f, 2, N); /* the branch is the oldest now */
        when_locked(&f, 1, moment, remove_branch);
        quire_store_watch w = owner_watch(&f);
        CHECK_OK(quire_store_evict(f.owner, 0, &w, &n_bytes, &err));
        CHECK(was_locked());
        CHECK_EQ_STR(f.all_done, "0 removed; 2 removed; ");
        CHECK_EQ_INT(n_bytes, 0);
        CHECK_EQ_INT(kv_test_count_files(f.folder), 3);
        owner_tear_down(&f);

        owner_set_up(&f);
        when_locked(&f, 1, moment, remove_branch);
        w = owner_watch(&f);
        CHECK_OK(quire_store_remove(f.owner, f.ids[0], true, &w, &err));
        CHECK(was_locked());
        CHECK_EQ_STR(f.all_done, "0 removed; ");
        owner_tear_down(&f);

        owner_set_up(&f);
        when_locked(&f, 1, moment, remove_branch);
        CHECK_OK(quire_store_remove(f.owner, f.ids[1], false, NULL, &err));
        CHECK(was_locked());
        owner_tear_down(&f);
    }
}

static void do_nothing(struct owner_fixture *f)
{
    (void)f;
}

/* A sound book keeps nobody waiting while it is looked through, however long that takes. */
static void repair_locks_what_is_damaged_only(void)
{
    for (int which = 0; which < 3; which++) {
        struct owner_fixture f;
        quire_error err = {0};
        size_t n;
        owner_set_up(&f);
        owner_flip(&f, 1, "logits.1", 7);
        when_locked(&f, which, BEFORE_OPENING, do_nothing);
        CHECK_OK(owner_repair(&f, 0, &n, &err));
        CHECK_EQ_INT(was_locked(), which == 1);
        owner_tear_down(&f);
    }
}

static void repair_goes_on_without_what_is_gone(void)
{
    for (enum moment moment = BEFORE_OPENING; moment <= BEFORE_LOCKING; moment++) {
        struct owner_fixture f;
        quire_error err = {0};
        size_t n = 0;
        owner_set_up(&f);
        owner_flip(&f, 1, "logits.1", 7);
        owner_flip(&f, 2, "logits.1", 7);
        when_locked(&f, 1, moment, remove_branch);
        CHECK_OK(owner_repair(&f, 0, &n, &err));
        CHECK(was_locked());
        CHECK_EQ_INT(n, 1);
        CHECK_EQ_INT(f.n_damage, 2); /* told before it was gone */
        CHECK_EQ_STR(f.all_done, "2 its 300 tokens are kept, without what was damaged beside them; ");
        owner_tear_down(&f);
    }
}

static const struct test tests[] = {
    {"a_book_that_is_gone_is_removed", a_book_that_is_gone_is_removed},
    {"repair_locks_what_is_damaged_only", repair_locks_what_is_damaged_only},
    {"repair_goes_on_without_what_is_gone", repair_goes_on_without_what_is_gone},
    {"gc_judges_what_is_there_under_the_lock", gc_judges_what_is_there_under_the_lock},
};

TEST_MAIN(tests)
