#include "kv_owner_test.h"

#include <inttypes.h>
#include <unistd.h>

/* Files' times move in steps of the system's clock tick: what is used after this was used later. */
static void let_the_clock_tick(void)
{
    usleep(20000);
}

static uint64_t read_text(struct owner_fixture *f, const int32_t *text, size_t n, const char *label)
{
    quire_error err = {0};
    struct kv_book *book;
    struct kv_about about = {0};
    kv_about_set(about.label, sizeof about.label, label, strlen(label));
    kv_store_describe(f->store, &about);
    REQUIRE_OK(kv_test_read(&book, f->store, &f->geometry, text, n, NULL, &err));
    uint64_t id = book->manifest.id;
    kv_book_close(book);
    let_the_clock_tick();
    return id;
}

void owner_set_up(struct owner_fixture *f)
{
    quire_error err = {0};
    *f = (struct owner_fixture){.geometry = kv_test_geometry(QUIRE_KV_BF16)};
    kv_test_begin(f->folder);
    f->store = kv_test_store(f->folder, &f->geometry);
    for (int i = 0; i < 3; i++)
        f->texts[i] = kv_test_text(N, i == 2 ? 72 : 71);
    f->texts[1][COMMON]++;
    f->ids[0] = read_text(f, f->texts[0], N, "first.txt");
    f->ids[1] = read_text(f, f->texts[1], N, "branch.txt");
    f->ids[2] = read_text(f, f->texts[2], N, "third.txt");
    REQUIRE_OK(quire_store_open(&f->owner, f->folder, false, &err));
}

void owner_tear_down(struct owner_fixture *f)
{
    quire_store_close(f->owner);
    kv_store_close(f->store);
    kv_test_end(f->folder);
    for (int i = 0; i < 3; i++)
        free(f->texts[i]);
}

void owner_book_path(char path[KV_PATH_SIZE], const struct owner_fixture *f, int which)
{
    kv_path(path, f->folder, "books/%016" PRIx64, f->ids[which]);
}

void owner_flip(const struct owner_fixture *f, int which, const char *name, size_t offset)
{
    char book[KV_PATH_SIZE];
    owner_book_path(book, f, which);
    kv_test_flip(book, name, offset);
}

size_t owner_block_offset(const struct owner_fixture *f, size_t head, size_t block)
{
    return (head * KV_CAPACITY_MIN + block) * kv_block_bytes(&f->geometry) + 5;
}

static void on_damage(void *user, const quire_store_damage *damage)
{
    struct owner_fixture *f = user;
    f->n_damage++;
    f->last_damage = *damage;
    snprintf(f->last_message, sizeof f->last_message, "%s", damage->message);
}

static void on_done(void *user, uint64_t id, const char *what)
{
    struct owner_fixture *f = user;
    size_t n = strlen(f->all_done);
    f->n_done++;
    for (int i = 0; i < 3; i++)
        if (f->ids[i] == id)
            snprintf(f->all_done + n, sizeof f->all_done - n, "%d %s; ", i, what);
}

quire_store_watch owner_watch(struct owner_fixture *f)
{
    f->n_damage = f->n_done = 0;
    f->all_done[0] = '\0';
    return (quire_store_watch){on_damage, on_done, NULL, f};
}

size_t owner_verify(struct owner_fixture *f, uint64_t id)
{
    quire_error err = {0};
    quire_store_watch w = owner_watch(f);
    size_t n = 999;
    CHECK_OK(quire_store_verify(f->owner, id, &w, &n, &err));
    CHECK_EQ_INT(n, f->n_damage);
    return n;
}

quire_status owner_repair(struct owner_fixture *f, uint64_t id, size_t *n, quire_error *err)
{
    quire_store_watch w = owner_watch(f);
    return quire_store_repair(f->owner, id, &w, n, err);
}

void owner_check_reads(struct owner_fixture *f, int which, size_t frontier)
{
    quire_error err = {0};
    struct kv_book *book;
    size_t first;
    REQUIRE_OK(kv_test_read(&book, f->store, &f->geometry, f->texts[which], N, &first, &err));
    CHECK_EQ_INT(first, frontier);
    CHECK(kv_store_notice(f->store) == NULL);
    CHECK(kv_test_holds(book, &f->geometry, f->texts[which], N));
    CHECK(kv_test_has_logits(book, f->texts[which], N));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    let_the_clock_tick();
}

quire_stored_book owner_show(struct owner_fixture *f, int which)
{
    quire_error err = {0};
    quire_stored_book book = {0};
    CHECK_OK(quire_store_show(f->owner, f->ids[which], &book, &err));
    return book;
}

bool owner_is_there(const struct owner_fixture *f, int which)
{
    char path[KV_PATH_SIZE];
    owner_book_path(path, f, which);
    return access(path, F_OK) == 0;
}
