/* The n-th system call fails, for n = 1, 2, 3, ... until all goes well: each time a named error, nothing leaked, and
 * under the output's name what was there before or the whole new model, never a part of one. */
#include <errno.h>
#include <unistd.h>

#include "../kv/kv_door.h"
#include "base/sys.h"
#include "convert_test.h"

#define FOLDER QUIRE_SOURCE_DIR "/tests/golden/random-sharded"
#define OTHER  QUIRE_SOURCE_DIR "/tests/golden/random-untied"
#define GGUF   QUIRE_SOURCE_DIR "/tests/golden/gguf-everything-f32/model.gguf"

static size_t count_fds(void)
{
    return place_count("/proc/self/fd");
}

struct fault_case {
    const char *from, *to;
    bool replaces;
};

static const struct fault_case cases[] = {
    {FOLDER, "m.gguf", false}, {FOLDER, "folder", false}, {GGUF, "m.gguf", true}, {FOLDER, "folder", true}};

/* A failure after the output has its name (its folder cannot be synced, the old one not be removed) is told as such. */
static void check_output(const struct fault_case *c, const char *place, quire_status status, const quire_error *err)
{
    const char *path = place_path(place, c->to);
    bool is_there = access(path, F_OK) == 0, is_late = strstr(err->message, "is complete, but") != NULL;
    if (status == QUIRE_OK || is_late)
        CHECK(is_there && is_same(c->from, path, false));
    else if (c->replaces)
        CHECK(is_there && is_same(OTHER, path, false));
    else
        CHECK(!is_there);
    CHECK_EQ_INT(place_count(place), is_there + (is_late && strstr(err->message, "still there") ? 1 : 0));
}

static void nth_call_fails(unsigned kinds, int code, enum door_fault fault, long step)
{
    size_t n_fds = count_fds();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct fault_case *c = &cases[i];
        bool happened = true;
        for (long nth = 0; happened && test_n_failed_checks == 0; nth += step) {
            quire_error err = {0};
            quire_convert_options options = quire_convert_defaults();
            char *place = place_make();
            if (c->replaces)
                convert(OTHER, place_path(place, c->to), NULL);
            quire_model *model = model_at(c->from);
            options.replaces = c->replaces;
            options.n_threads = 1;
            door_close(kinds, nth, fault, code);
            quire_status status = quire_convert(model, place_path(place, c->to), &options, &err);
            happened = door_open();
            quire_model_close(model);
            CHECK(happened || status == QUIRE_OK);
            if (status != QUIRE_OK && code == ENOSPC)
                CHECK_EQ_INT(status, QUIRE_ERR_NO_SPACE);
            check_output(c, place, status, &err);
            CHECK_EQ_INT(count_fds(), n_fds);
            if (test_n_failed_checks > 0)
                fprintf(stderr, "%s to %s: call %ld of kinds %u failed with %s: %s\n", c->from, c->to, nth, kinds,
                        strerror(code), err.message);
            place_remove(place);
        }
    }
}

static void nth_write_finds_the_disk_full(void)
{
    nth_call_fails(DOOR_WRITE, ENOSPC, DOOR_FAILS_ONCE, 3);
}

static void disk_stays_full_from_the_nth_write(void)
{
    nth_call_fails(DOOR_WRITE | DOOR_SIZE, ENOSPC, DOOR_KEEPS_FAILING, 3);
}

static void nth_write_has_an_io_error(void)
{
    nth_call_fails(DOOR_WRITE, EIO, DOOR_FAILS_ONCE, 5);
}

static void nth_sync_fails(void)
{
    nth_call_fails(DOOR_SYNC, EIO, DOOR_FAILS_ONCE, 1);
}

static void nth_open_finds_no_descriptor(void)
{
    nth_call_fails(DOOR_OPEN, EMFILE, DOOR_FAILS_ONCE, 1);
}

static void nth_change_of_a_name_fails(void)
{
    nth_call_fails(DOOR_NAME, EACCES, DOOR_FAILS_ONCE, 1);
}

static void nth_look_at_files_fails(void)
{
    nth_call_fails(DOOR_STAT | DOOR_LIST | DOOR_MAP | DOOR_READ, EIO, DOOR_FAILS_ONCE, 1);
}

/* A file system without exchange of names, and one that cannot reserve. */
static void poor_file_systems_will_do(void)
{
    for (int i = 0; i < 2; i++) {
        quire_error err = {0};
        quire_convert_options options = quire_convert_defaults();
        char *place = place_make();
        convert(OTHER, place_path(place, "folder"), NULL);
        quire_model *model = model_at(FOLDER);
        options.replaces = true;
        /* The first change of a name is the making of the folder, the second the exchange. */
        door_close(i == 0 ? DOOR_NAME : DOOR_SIZE, i == 0 ? 1 : 0, i == 0 ? DOOR_FAILS_ONCE : DOOR_KEEPS_FAILING,
                   i == 0 ? EINVAL : EOPNOTSUPP);
        CHECK_OK(quire_convert(model, place_path(place, "folder"), &options, &err));
        CHECK(door_open());
        quire_model_close(model);
        CHECK(is_same(FOLDER, place_path(place, "folder"), false));
        CHECK_EQ_INT(place_count(place), 1);
        place_remove(place);
    }
}

/* A disk that is too small is known before anything is written. */
static int says_little(const char *path, struct statvfs *st)
{
    int result = sys_real.statvfs(path, st);
    st->f_bavail = 1;
    return result;
}

static void small_disk_is_known_before(void)
{
    char *place = place_make();
    quire_error err = {0};
    quire_model *model = model_at(FOLDER);
    sys.statvfs = says_little;
    CHECK_EQ_INT(quire_convert(model, place_path(place, "m.gguf"), NULL, &err), QUIRE_ERR_NO_SPACE);
    sys = sys_real;
    CHECK_MESSAGE(err, "needs");
    CHECK_MESSAGE(err, "free");
    CHECK_EQ_INT(place_count(place), 0);
    quire_model_close(model);
    place_remove(place);
}

static const struct test tests[] = {
    {"nth_write_finds_the_disk_full", nth_write_finds_the_disk_full},
    {"disk_stays_full_from_the_nth_write", disk_stays_full_from_the_nth_write},
    {"nth_write_has_an_io_error", nth_write_has_an_io_error},
    {"nth_sync_fails", nth_sync_fails},
    {"nth_open_finds_no_descriptor", nth_open_finds_no_descriptor},
    {"nth_change_of_a_name_fails", nth_change_of_a_name_fails},
    {"nth_look_at_files_fails", nth_look_at_files_fails},
    {"poor_file_systems_will_do", poor_file_systems_will_do},
    {"small_disk_is_known_before", small_disk_is_known_before},
};
TEST_MAIN(tests)
