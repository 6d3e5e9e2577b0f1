/* Regular files, each test on io_uring and on pread. */
#include <errno.h>
#include <sys/stat.h>

#include "reader/reader_test.h"
#include "reader/utf8_reference.h"

static void contents_are_the_files(void)
{
    static const size_t buffers[] = {1, 2, 3, 5, 64, 4096};
    static const uint32_t in_flight[] = {0, 1, 2, 7};
    bool has_uring = uring_works();
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        for (size_t b = 0; b < sizeof buffers / sizeof buffers[0]; b++) {
            size_t size = buffers[b], sizes[] = {0, 1, size - 1, size, size + 1, 2 * size, 5 * size - 1, 17 * size + 1};
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                char *text = make_text(sizes[i], 100 * b + i);
                char *path = make_file(text, sizes[i]);
                quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = size};
                opts.n_in_flight = in_flight[i % 4];
                struct reading reading = read_whole(path, &opts);
                CHECK(is_reading(&reading, text, sizes[i]));
                CHECK_EQ_INT(reading.size, sizes[i]);
                CHECK_EQ_INT(reading.n_taken, sizes[i]);
                CHECK_EQ_INT(reading.n_replaced, 0);
                if (has_uring || reader_ways[way].no_uring) /* a limit may keep the buffers from being registered */
                    CHECK(strncmp(reading.backend, reader_ways[way].name, strlen(reader_ways[way].name)) == 0);
                drop_reading(&reading);
                drop_file(path);
                free(text);
            }
        }
    }
}

/* Buffers and reads in flight as users have them, and pieces that are whole characters. */
static void a_large_file_comes_in_whole_characters(void)
{
    size_t n = 5 * 1024 * 1024 + 12345;
    char *text = make_text(n, 1), *path = make_file(text, n);
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        quire_reader_options opts = {.no_uring = reader_ways[way].no_uring};
        quire_reader *reader;
        quire_error err = {0};
        REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
        size_t n_read = 0;
        for (;;) {
            const char *bytes;
            size_t n_bytes;
            REQUIRE_OK(quire_reader_next(reader, &bytes, &n_bytes, &err));
            if (n_bytes == 0)
                break;
            CHECK(n_bytes <= n - n_read && memcmp(bytes, text + n_read, n_bytes) == 0);
            CHECK((bytes[0] & 0xC0) != 0x80);
            n_read += n_bytes;
            CHECK((text[n_read] & 0xC0) != 0x80);
            CHECK_EQ_INT(quire_reader_n_bytes(reader), n_read);
        }
        CHECK_EQ_INT(n_read, n);
        quire_reader_close(reader);
    }
    drop_file(path);
    free(text);
}

static void characters_survive_any_cut(void)
{
    static const char text[] = "a\xC3\xA9z\xE2\x82\xAC\xF0\x9F\x93\x96\xE2\x82\xAC\xC3\xA9\xF4\x8F\xBF\xBF\xEE\x80\x80";
    char *path = make_file(text, sizeof text - 1);
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        for (size_t buffer = 1; buffer <= sizeof text; buffer++) {
            for (uint32_t n = 1; n < 4; n++) {
                quire_reader_options opts = {
                    .no_uring = reader_ways[way].no_uring, .buffer_bytes = buffer, .n_in_flight = n};
                struct reading reading = read_whole(path, &opts);
                CHECK(is_reading(&reading, text, sizeof text - 1));
                drop_reading(&reading);
            }
        }
    }
    drop_file(path);
}

static void a_mark_at_the_start_is_dropped_and_line_ends_are_kept(void)
{
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"\xEF\xBB\xBF", ""},
        {"\xEF\xBB\xBFtext", "text"},
        {"\xEF\xBB\xBF\xEF\xBB\xBFtext", "\xEF\xBB\xBFtext"},
        {"t\xEF\xBB\xBF", "t\xEF\xBB\xBF"},
        {"\xEF\xBB\xBE", "\xEF\xBB\xBE"},
        {"one\r\ntwo\rthree\n\r\n", "one\r\ntwo\rthree\n\r\n"},
        {"\xEF\xBB\xBF\r\n", "\r\n"},
    };
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            char *path = make_file(cases[i].bytes, strlen(cases[i].bytes));
            for (size_t buffer = 0; buffer <= 7; buffer++) {
                quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = buffer};
                struct reading reading = read_whole(path, &opts);
                CHECK(is_reading(&reading, cases[i].want, strlen(cases[i].want)));
                CHECK_EQ_INT(reading.n_taken, strlen(cases[i].bytes));
                drop_reading(&reading);
            }
            drop_file(path);
        }
    }
}

/* Every invalid part at every place of a text with a mark in front, for every place of the buffers' ends: the text
 * before it, then an error with its offset, the same for ever. */
static void an_invalid_byte_is_named_by_its_offset(void)
{
    static const char start[] = "\xEF\xBB\xBFx\xC3\xA9y\xE2\x82\xACz";
    static const struct {
        const char *bytes, *hex;
    } bad[] = {
        {"\xFF", "0xff"},
        {"\x80", "0x80"},
        {"\xC0\xAF", "0xc0"},
        {"\xED\xA0\x80", "0xed"},
        {"\xE2\x82z", "0xe2 0x82"},
        {"\xF0\x9F\x93z", "0xf0 0x9f 0x93"},
        {"\xF4\x90\x80\x80", "0xf4"},
        {"\xE2\x82", "0xe2 0x82, where the text ends"},
        {"\xF0", "0xf0, where the text ends"},
    };
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            for (size_t at = 0; at < sizeof start; at++) {
                char bytes[64], want[128];
                if (at < sizeof start - 1 && (start[at] & 0xC0) == 0x80)
                    continue; /* inside a character: the offset is that of its beginning */
                size_t n = at + strlen(bad[i].bytes), n_mark = at >= 3 ? 3 : 0;
                memcpy(bytes, start, at);
                memcpy(bytes + at, bad[i].bytes, n - at);
                char *path = make_file(bytes, n);
                snprintf(want, sizeof want, "' is not valid UTF-8 at byte %zu (%s); use --lossy", at, bad[i].hex);
                for (size_t buffer = 0; buffer < 6; buffer++) {
                    quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = buffer};
                    struct reading reading = read_whole(path, &opts);
                    CHECK_EQ_INT(reading.status, QUIRE_ERR_TEXT);
                    CHECK_MESSAGE(reading.err, want);
                    CHECK_MESSAGE(reading.err, path);
                    CHECK(reading.n == at - n_mark &&
                          (reading.n == 0 || !memcmp(reading.bytes, bytes + n_mark, reading.n)));
                    CHECK_EQ_INT(reading.n_taken, at);
                    drop_reading(&reading);
                }
                drop_file(path);
            }
        }
    }
}

static void other_formats_are_recognised(void)
{
    static const struct {
        const char *bytes, *advice;
    } files[] = {
        {"PK\3\4\x14\xFF", "zip archive"}, {"%PDF-1.7\n\xE2\xE3", "pdftotext"},
        {"\x1F\x8B\x08", "decompress"},    {"\xFF\xFEH", "iconv -f UTF-16 -t UTF-8"},
        {"\xFE\xFF", "iconv -f UTF-16"},   {"na\xEFve", "iconv -f ISO-8859-1"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = make_file(files[i].bytes, strlen(files[i].bytes));
        quire_reader_options opts = {0};
        struct reading reading = read_whole(path, &opts);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_TEXT);
        CHECK_MESSAGE(reading.err, files[i].advice);
        drop_reading(&reading);
        drop_file(path);
    }
}

static void lossy_replaces_and_counts(void)
{
    uint64_t seed = 3;
    for (int round = 0; round < 300; round++) {
        unsigned char bytes[400], want[1200];
        size_t n = test_random(&seed) % sizeof bytes;
        for (size_t i = 0; i < n; i++) {
            static const unsigned char likely[] = {'a', 0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0x90, 0xFF};
            uint64_t random = test_random(&seed);
            bytes[i] = random % 8 ? likely[(random >> 8) % sizeof likely] : (unsigned char)(random >> 8);
        }
        if (n > 0 && bytes[0] == 0xEF)
            bytes[0] = 'x'; /* marks have their own test */
        uint64_t n_replaced;
        size_t n_want = reference_lossy(want, bytes, n, &n_replaced), n_invalid;
        size_t first = reference_first_invalid(bytes, n, &n_invalid);
        char *path = make_file(bytes, n);
        for (size_t way = 0; way < N_READER_WAYS; way++) {
            quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .lossy = true};
            opts.buffer_bytes = test_random(&seed) % 50;
            struct reading reading = read_whole(path, &opts);
            CHECK(is_reading(&reading, want, n_want));
            CHECK_EQ_INT(reading.n_replaced, n_replaced);
            CHECK_EQ_INT(reading.n_taken, n);
            drop_reading(&reading);

            opts.lossy = false;
            reading = read_whole(path, &opts);
            CHECK_EQ_INT(reading.status, first < n ? QUIRE_ERR_TEXT : QUIRE_OK);
            CHECK_EQ_INT(reading.n_taken, first);
            drop_reading(&reading);
        }
        drop_file(path);
    }
}

static void what_cannot_be_read_is_said(void)
{
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        quire_reader_options opts = {.no_uring = reader_ways[way].no_uring};
        struct reading reading = read_whole("/tmp", &opts);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
        CHECK_EQ_STR(reading.err.message, "cannot read '/tmp': it is a directory, expected a file");
        reading = read_whole("/nonexistent/book.txt", &opts);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
        CHECK_EQ_STR(reading.err.message, "cannot open '/nonexistent/book.txt': No such file or directory");
        reading = read_whole("", &opts);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
    }
    quire_reader *reader = NULL;
    quire_error err = {0};
    quire_reader_options opts = {.buffer_bytes = ((size_t)1 << 30) + 1};
    CHECK_EQ_INT(quire_reader_open(&reader, "/dev/null", &opts, &err), QUIRE_ERR_USAGE);
    opts = (quire_reader_options){.n_in_flight = 1025};
    CHECK_EQ_INT(quire_reader_open(&reader, "/dev/null", &opts, NULL), QUIRE_ERR_USAGE);
    CHECK(!reader);
    quire_reader_close(NULL);
}

static void no_permission_is_said(void)
{
    char *path = make_file("secret", 6);
    chmod(path, 0);
    bool was_root = geteuid() == 0;
    if (was_root && seteuid(65534) != 0)
        SKIP("root, and cannot become another user");
    struct reading reading = read_whole(path, NULL);
    if (was_root && seteuid(0) != 0)
        exit(1);
    CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
    CHECK_MESSAGE(reading.err, "': Permission denied");
    CHECK_MESSAGE(reading.err, path);
    drop_file(path);
}

/* Reads a piece, changes the size, and reads the rest. */
static struct reading read_while_resized(const char *path, bool no_uring, off_t new_size)
{
    quire_reader_options opts = {.no_uring = no_uring, .buffer_bytes = 1000, .n_in_flight = 2};
    struct reading reading = {0};
    quire_reader *reader;
    quire_error err = {0};
    const char *bytes;
    REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
    REQUIRE_OK(quire_reader_next(reader, &bytes, &reading.n, &err));
    reading.bytes = malloc(reading.n);
    memcpy(reading.bytes, bytes, reading.n);
    CHECK_EQ_INT(truncate(path, new_size), 0);
    read_rest(&reading, reader);
    return reading;
}

/* Reads a piece, adds what the file had not, and reads the rest. */
static void a_file_that_grows_is_read_to_its_end(void)
{
    static const size_t sizes[] = {0, 1, 999, 1000, 1001, 3000, 10500};
    char *text = make_text(20000, 5);
    for (size_t way = 0; way < N_READER_WAYS; way++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            char *path = make_file(text, sizes[i]);
            quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = 1000, .n_in_flight = 2};
            struct reading reading = {0};
            quire_reader *reader;
            quire_error err = {0};
            REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
            CHECK_EQ_INT(quire_reader_size(reader), sizes[i]);
            int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
            CHECK_EQ_INT(write(fd, text + sizes[i], 20000 - sizes[i]), 20000 - sizes[i]);
            close(fd);
            read_rest(&reading, reader);
            CHECK(is_reading(&reading, text, 20000));
            drop_reading(&reading);
            drop_file(path);
        }
    free(text);
}

/* Below /proc a file has bytes and no size. */
static void a_file_of_no_size_is_read_to_its_end(void)
{
    for (size_t way = 0; way < N_READER_WAYS; way++)
        for (size_t buffer = 100; buffer < 1 << 20; buffer *= 10) {
            quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = buffer};
            struct reading reading = read_whole("/proc/self/limits", &opts);
            CHECK_EQ_INT(reading.status, QUIRE_OK);
            CHECK(reading.n > 800 && memcmp(reading.bytes, "Limit ", 6) == 0);
            CHECK(memmem(reading.bytes, reading.n, "Max realtime timeout", 20) != NULL);
            drop_reading(&reading);
        }
}

static void a_file_that_shrinks_is_an_error(void)
{
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        char *text = make_text(50000, 6), *path = make_file(text, 50000);
        struct reading reading = read_while_resized(path, reader_ways[way].no_uring, 20500);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_IO);
        CHECK_MESSAGE(reading.err, "became shorter while it was read: it ends at byte 20500, and had 50000 bytes");
        CHECK_MESSAGE(reading.err, path);
        CHECK(reading.n <= 20500 && memcmp(reading.bytes, text, reading.n) == 0);
        CHECK(reading.n > 19900);
        drop_reading(&reading);
        drop_file(path);
        free(text);
    }
}

static void readers_follow_each_other_and_leave_nothing(void)
{
    char *text = make_text(30000, 8), *path = make_file(text, 30000);
    int n_open = count_open_files();
    for (int i = 0; i < 300; i++) {
        quire_reader_options opts = {.no_uring = i % 2, .buffer_bytes = 1024, .n_in_flight = 8};
        quire_reader *reader;
        quire_error err = {0};
        REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
        /* Closed before the first piece, in the middle with reads in flight, or at the end. */
        for (int k = 0; k < i % 40; k++) {
            const char *bytes;
            size_t n;
            CHECK_OK(quire_reader_next(reader, &bytes, &n, &err));
        }
        quire_reader_close(reader);
    }
    CHECK_EQ_INT(count_open_files(), n_open);
    drop_file(path);
    free(text);
}

static void two_readers_at_once_do_not_mix(void)
{
    char *texts[] = {make_text(20000, 9), make_text(20000, 10)};
    char *paths[] = {make_file(texts[0], 20000), make_file(texts[1], 20000)};
    quire_reader_options opts = {.buffer_bytes = 700};
    quire_reader *readers[2];
    quire_error err = {0};
    for (int i = 0; i < 2; i++)
        REQUIRE_OK(quire_reader_open(&readers[i], paths[i], &opts, &err));
    size_t n_read[2] = {0}, n[2] = {1, 1};
    while (n[0] > 0 || n[1] > 0) {
        for (int i = 0; i < 2; i++) {
            const char *bytes;
            REQUIRE_OK(quire_reader_next(readers[i], &bytes, &n[i], &err));
            CHECK(n[i] <= 20000 - n_read[i] && memcmp(bytes, texts[i] + n_read[i], n[i]) == 0);
            n_read[i] += n[i];
        }
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ_INT(n_read[i], 20000);
        quire_reader_close(readers[i]);
        drop_file(paths[i]);
        free(texts[i]);
    }
}

/* "-" that is a file: from where it stands, and left standing behind what was read. */
static void redirected_input_is_read_from_its_position(void)
{
    static const char text[] = "skipped\xEF\xBB\xBFread \xC3\xA9 and \xFF";
    char *path = make_file(text, sizeof text - 1);
    int saved = dup(STDIN_FILENO);
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        int fd = open(path, O_RDONLY | O_NONBLOCK);
        CHECK(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO && lseek(fd, 7, SEEK_SET) == 7);
        close(fd);
        quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = 4};
        struct reading reading = read_whole("-", &opts);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_TEXT);
        CHECK_MESSAGE(reading.err, "standard input is not valid UTF-8 at byte 15 (0xff)");
        CHECK(reading.n == 12 && memcmp(reading.bytes, text + 10, 12) == 0);
        CHECK_EQ_INT(reading.size, sizeof text - 1 - 7);
        CHECK_EQ_INT(lseek(STDIN_FILENO, 0, SEEK_CUR), 7 + 15);
        drop_reading(&reading);
        CHECK_EQ_INT(lseek(STDIN_FILENO, 1000, SEEK_SET), 1000);
        reading = read_whole("-", &opts);
        CHECK(is_reading(&reading, "", 0));
        drop_reading(&reading);
    }
    if (saved >= 0) {
        dup2(saved, STDIN_FILENO);
        close(saved);
    }
    drop_file(path);
}

static void a_cancelled_file_stops(void)
{
    char *text = make_text(5000, 11), *path = make_file(text, 5000);
    for (size_t way = 0; way < N_READER_WAYS; way++) {
        quire_reader_options opts = {.no_uring = reader_ways[way].no_uring, .buffer_bytes = 100};
        struct reading reading = {0};
        quire_reader *reader;
        quire_error err = {0};
        const char *bytes;
        size_t n;
        REQUIRE_OK(quire_reader_open(&reader, path, &opts, &err));
        CHECK_OK(quire_reader_next(reader, &bytes, &n, &err));
        errno = 77;
        quire_reader_cancel(reader);
        CHECK_EQ_INT(errno, 77);
        read_rest(&reading, reader);
        CHECK_EQ_INT(reading.status, QUIRE_ERR_CANCELLED);
        CHECK_MESSAGE(reading.err, "was stopped");
        CHECK_EQ_INT(reading.n, 0);
    }
    drop_file(path);
    free(text);
}

static const struct test tests[] = {
    {"contents_are_the_files", contents_are_the_files},
    {"a_large_file_comes_in_whole_characters", a_large_file_comes_in_whole_characters},
    {"characters_survive_any_cut", characters_survive_any_cut},
    {"a_mark_at_the_start_is_dropped_and_line_ends_are_kept", a_mark_at_the_start_is_dropped_and_line_ends_are_kept},
    {"an_invalid_byte_is_named_by_its_offset", an_invalid_byte_is_named_by_its_offset},
    {"other_formats_are_recognised", other_formats_are_recognised},
    {"lossy_replaces_and_counts", lossy_replaces_and_counts},
    {"what_cannot_be_read_is_said", what_cannot_be_read_is_said},
    {"no_permission_is_said", no_permission_is_said},
    {"a_file_that_grows_is_read_to_its_end", a_file_that_grows_is_read_to_its_end},
    {"a_file_of_no_size_is_read_to_its_end", a_file_of_no_size_is_read_to_its_end},
    {"a_file_that_shrinks_is_an_error", a_file_that_shrinks_is_an_error},
    {"readers_follow_each_other_and_leave_nothing", readers_follow_each_other_and_leave_nothing},
    {"two_readers_at_once_do_not_mix", two_readers_at_once_do_not_mix},
    {"redirected_input_is_read_from_its_position", redirected_input_is_read_from_its_position},
    {"a_cancelled_file_stops", a_cancelled_file_stops},
};

TEST_MAIN(tests)
