/* Bit rot: one flipped bit anywhere in a book. What means something is found before it is used, and computed again; the
 * result is that of the sound store, bit for bit. */
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "golden.h"
#include "kv/kv_book.h"
#include "kv/kv_test.h"

/* Chunks of one block and spans of two: wherever a reading starts again, its chunks have the same edges, and so its
 * numbers the same bits. */
enum { CHUNK = 64, SPAN = 128, MOST_TOKENS = 340, N_FLIPS = 1000, N_TEXTS = 3, N_BOOKS_MAX = 8 };
static const int32_t next_id = 7; /* what is appended */

/* Read to its end; with another end, branched off at token 192; interrupted in its second span, in layer 1. */
enum { WHOLE, BRANCHED, IN_FLIGHT };
static const size_t lengths[N_TEXTS] = {300, 340, 230};

struct fixture {
    quire_model *model;
    size_t vocab_size;
    char folder[KV_PATH_SIZE], backup[KV_PATH_SIZE];
    int32_t *texts[N_TEXTS];
    char names[N_TEXTS][17]; /* the books' */
    struct kv_manifest manifests[N_TEXTS];
    struct kv_geometry geometry;
    float *logits[N_TEXTS], *appended[N_TEXTS];
};

static int count_down(void *user, const quire_progress *progress)
{
    int *n_left = user;
    (void)progress;
    return (*n_left)-- == 0;
}

struct result {
    float *logits, *appended;
    char notice[4096]; /* all of them, a line each */
};

/* Reads a text and appends a token; n_steps >= 0: only so many steps of the reading. */
static void read_text(struct result *out, const struct fixture *f, const char *store, int text, int n_steps)
{
    quire_error err = {0};
    quire_engine_options opts = quire_engine_defaults();
    opts.store_path = store;
    opts.chunk_tokens = CHUNK;
    opts.span_tokens = SPAN;
    opts.n_threads = 1;
    opts.progress = n_steps >= 0 ? count_down : NULL;
    opts.user = &n_steps;
    quire_engine *engine;
    quire_book *book;
    REQUIRE_OK(quire_engine_open(&engine, f->model, &opts, &err));
    REQUIRE_OK(quire_book_open(&book, engine, &err));
    if (n_steps >= 0) {
        CHECK_EQ_INT(quire_book_read(book, f->texts[text], lengths[text], 1, &err), QUIRE_ERR_CANCELLED);
    } else {
        size_t n_bytes = f->vocab_size * sizeof(float);
        CHECK_OK(quire_book_read(book, f->texts[text], lengths[text], 1, &err));
        if (quire_book_logits(book))
            memcpy(out->logits, quire_book_logits(book), n_bytes);
        CHECK_OK(quire_book_append(book, next_id, &err));
        if (quire_book_logits(book))
            memcpy(out->appended, quire_book_logits(book), n_bytes);
        out->notice[0] = '\0';
        for (size_t i = 0; quire_book_notice(book, i); i++) {
            size_t n = strlen(out->notice);
            snprintf(out->notice + n, sizeof out->notice - n, "%s\n", quire_book_notice(book, i));
        }
    }
    quire_book_close(book);
    quire_engine_close(engine);
}

static void copy_folder(const char *from, const char *to)
{
    char name[] = "cp", option[] = "-a", end[] = "--";
    char *arguments[] = {name, option, end, (char *)(uintptr_t)from, (char *)(uintptr_t)to, NULL};
    int status;
    pid_t pid; /* spawned, not forked: under a sanitizer a thousand forks take minutes */
    if (posix_spawnp(&pid, "cp", NULL, NULL, arguments, environ) != 0 || waitpid(pid, &status, 0) != pid ||
        status != 0) {
        fprintf(stderr, "cannot copy %s\n", from);
        exit(1);
    }
}

static void book_folder(char path[KV_PATH_SIZE], const struct fixture *f, int text)
{
    kv_path(path, f->folder, "books/%s", f->names[text]);
}

/* Notes the name of the book that is new. */
struct visit {
    struct fixture *f;
    int text; /* whose book it is */
};

static void visit_book(void *context, const char *name)
{
    const struct visit *visit = context;
    for (int i = 0; i < N_TEXTS; i++)
        if (strcmp(visit->f->names[i], name) == 0)
            return;
    snprintf(visit->f->names[visit->text], sizeof visit->f->names[0], "%.16s", name);
}

static void note_book(struct fixture *f, int text)
{
    struct visit visit = {f, text};
    char books[KV_PATH_SIZE];
    kv_path(books, f->folder, "books");
    kv_folder_list(books, visit_book, &visit, NULL);
}

static void remove_book(void *context, const char *name)
{
    char path[KV_PATH_SIZE];
    kv_path(path, context, "%s", name);
    kv_folder_remove(path);
}

static void set_up(struct fixture *f)
{
    char path[KV_PATH_SIZE];
    *f = (struct fixture){.model = golden_model("random-heads-6-grouped")};
    const quire_config *config = quire_model_config(f->model);
    f->vocab_size = config->vocab_size;
    f->geometry = (struct kv_geometry){config->n_layers, config->kv_n_heads, config->head_dim, QUIRE_KV_BF16};
    kv_test_begin(f->folder);
    kv_test_begin(f->backup);
    for (int i = 0; i < N_TEXTS; i++) {
        f->texts[i] = random_ids(MOST_TOKENS, config->vocab_size, i == IN_FLIGHT ? 82 : 81);
        if (i == BRANCHED)
            f->texts[i][200] = (f->texts[i][200] + 1) % (int32_t)config->vocab_size;
        struct result want = {.logits = malloc(f->vocab_size * sizeof(float)),
                              .appended = malloc(f->vocab_size * sizeof(float))};
        read_text(&want, f, NULL, i, -1);
        f->logits[i] = want.logits;
        f->appended[i] = want.appended;
        struct result stored = {.logits = malloc(f->vocab_size * sizeof(float)),
                                .appended = malloc(f->vocab_size * sizeof(float))};
        read_text(&stored, f, f->folder, i, i == IN_FLIGHT ? 13 : -1);
        free(stored.logits);
        free(stored.appended);
        note_book(f, i);
        kv_path(path, f->folder, "books/%s/manifest", f->names[i]);
        FILE *file = fopen(path, "re");
        CHECK(file && fread(&f->manifests[i], sizeof f->manifests[i], 1, file) == 1);
        if (file)
            fclose(file);
    }
    CHECK_EQ_INT(f->manifests[WHOLE].frontier, lengths[WHOLE]);
    CHECK_EQ_INT(f->manifests[BRANCHED].base_tokens, 192);
    CHECK_EQ_INT(f->manifests[IN_FLIGHT].frontier, SPAN);
    CHECK_EQ_INT(f->manifests[IN_FLIGHT].flight.layer, 1);
    CHECK_EQ_INT(f->manifests[IN_FLIGHT].n_ids, lengths[IN_FLIGHT]);
    kv_path(path, f->folder, "books");
    copy_folder(path, f->backup);
}

static void tear_down(struct fixture *f)
{
    for (int i = 0; i < N_TEXTS; i++) {
        free(f->texts[i]);
        free(f->logits[i]);
        free(f->appended[i]);
    }
    kv_test_end(f->folder);
    kv_test_end(f->backup);
    quire_model_close(f->model);
}

/* --- flips ------------------------------------------------------------------------------------------------------- */

enum kind { LAYER, SUMMARY, TAIL, TOKENS, LOGITS, MANIFEST, FLIGHT, RESIDUAL, N_KINDS };
static const char *const kind_names[N_KINDS] = {"layer",  "summary",  "tail",   "tokens",
                                                "logits", "manifest", "flight", "residual"};

struct flip {
    int book; /* of which text */
    int text; /* that is read */
    char file[64];
    uint64_t offset;
    int bit;
    bool must_be_noticed;
};

static uint64_t below(uint64_t *seed, uint64_t n)
{
    return test_random(seed) % n;
}

static uint64_t file_size(const struct fixture *f, int book, const char *name)
{
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    struct stat st = {0};
    book_folder(folder, f, book);
    kv_path(path, folder, "%s", name);
    CHECK_EQ_INT(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* A bit of a block, or of its summary; of one in eight, anywhere in the file. */
static void choose_in_layer(struct flip *flip, const struct fixture *f, enum kind kind, uint64_t *seed)
{
    const struct kv_manifest *m = &f->manifests[flip->book];
    uint64_t layer = below(seed, m->n_layers), head = below(seed, m->n_heads);
    uint64_t first = m->base_tokens / KV_BLOCK_TOKENS, end = lengths[flip->book] / KV_BLOCK_TOKENS;
    uint64_t block = below(seed, end - first), unit = kind == LAYER ? kv_block_bytes(&f->geometry) : 16;
    uint64_t within = below(seed, unit);
    snprintf(flip->file, sizeof flip->file, "%s.%03u", kind_names[kind], (unsigned)layer);
    if (below(seed, 8) == 0) {
        flip->offset = below(seed, file_size(f, flip->book, flip->file));
        head = flip->offset / unit / m->capacity_blocks;
        block = flip->offset / unit % m->capacity_blocks;
        within = flip->offset % unit;
    } else {
        flip->offset = (head * m->capacity_blocks + block) * unit + within;
    }
    /* The branch reads the first three blocks of its parent. */
    bool is_used = flip->text == flip->book ? block + first < end : block + first < 3;
    flip->must_be_noticed = is_used && head < m->n_heads; /* all of a summary is checked: checksum, norm, flags */
}

static struct flip choose(const struct fixture *f, uint64_t *seed)
{
    enum kind kind = (enum kind)below(seed, N_KINDS);
    struct flip flip = {.bit = (int)below(seed, 8), .must_be_noticed = true};
    flip.book = (int)below(seed, kind == TAIL || kind == LOGITS ? 2 : 3);
    if (kind == FLIGHT || kind == RESIDUAL)
        flip.book = IN_FLIGHT;
    flip.text = flip.book;
    if (flip.book == WHOLE && (kind == LAYER || kind == SUMMARY || kind == MANIFEST) && below(seed, 3) == 0)
        flip.text = BRANCHED;
    const struct kv_manifest *m = &f->manifests[flip.book];
    if (kind == LAYER || kind == SUMMARY) {
        choose_in_layer(&flip, f, kind, seed);
        return flip;
    }
    static const enum kv_side sides[N_KINDS] = {
        [TAIL] = KV_SIDE_TAIL, [LOGITS] = KV_SIDE_LOGITS, [FLIGHT] = KV_SIDE_FLIGHT, [RESIDUAL] = KV_SIDE_RESIDUAL};
    if (kind == TOKENS || kind == MANIFEST)
        snprintf(flip.file, sizeof flip.file, "%s", kind_names[kind]);
    else
        snprintf(flip.file, sizeof flip.file, "%s.%llu", kind_names[kind],
                 (unsigned long long)m->sides[sides[kind]].generation);
    flip.offset = below(seed, file_size(f, flip.book, flip.file));
    if (kind == TOKENS) /* of the tokens of a flight only the flight is lost */
        flip.must_be_noticed =
            flip.offset / sizeof(struct kv_token_record) < m->frontier / KV_BLOCK_TOKENS ||
            (flip.offset % sizeof(struct kv_token_record) / sizeof(int32_t) < m->frontier % KV_BLOCK_TOKENS &&
             flip.offset / sizeof(struct kv_token_record) == m->frontier / KV_BLOCK_TOKENS);
    return flip;
}

static void apply(const struct fixture *f, const struct flip *flip)
{
    char folder[KV_PATH_SIZE], path[KV_PATH_SIZE];
    unsigned char byte = 0;
    book_folder(folder, f, flip->book);
    kv_path(path, folder, "%s", flip->file);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, &byte, 1, (off_t)flip->offset) == 1);
    byte ^= (unsigned char)(1 << flip->bit);
    CHECK(pwrite(fd, &byte, 1, (off_t)flip->offset) == 1);
    close(fd);
}

/* Every book as it was: a reading that finds damage puts the book back to what is sound. */
static void undo(const struct fixture *f)
{
    char from[KV_PATH_SIZE], books[KV_PATH_SIZE];
    kv_path(books, f->folder, "books");
    kv_folder_list(books, remove_book, books, NULL);
    sys.rmdir(books);
    kv_path(from, f->backup, "books");
    copy_folder(from, f->folder);
}

/* What a reading leaves behind is sound, whatever was damaged before: the second one says nothing. A flip that no
 * reading of this text comes by may still be there. */
static void check_mended(const struct fixture *f, const struct flip *flip, struct result *again)
{
    size_t n_bytes = f->vocab_size * sizeof(float);
    read_text(again, f, f->folder, flip->text, -1);
    CHECK(memcmp(again->logits, f->logits[flip->text], n_bytes) == 0);
    CHECK(memcmp(again->appended, f->appended[flip->text], n_bytes) == 0);
    CHECK_EQ_STR(again->notice, "");
}

static void every_flip_is_found_or_harmless(void)
{
    struct fixture f;
    uint64_t seed = 91;
    size_t n_noticed = 0;
    set_up(&f);
    size_t n_bytes = f.vocab_size * sizeof(float);
    struct result got = {.logits = malloc(n_bytes), .appended = malloc(n_bytes)}, again = got;
    for (int i = 0; i < N_FLIPS && test_n_failed_checks == 0; i++) {
        struct flip flip = choose(&f, &seed);
        memset(got.logits, 0xFF, n_bytes);
        memset(got.appended, 0xFF, n_bytes);
        apply(&f, &flip);
        read_text(&got, &f, f.folder, flip.text, -1);
        CHECK(memcmp(got.logits, f.logits[flip.text], n_bytes) == 0);
        CHECK(memcmp(got.appended, f.appended[flip.text], n_bytes) == 0);
        CHECK(!flip.must_be_noticed || strstr(got.notice, f.names[flip.book]));
        n_noticed += got.notice[0] != '\0';
        if (i % 4 == 0)
            check_mended(&f, &flip, &again);
        if (test_n_failed_checks > 0)
            fprintf(stderr, "flip %d: book %d, text %d, %s, byte %llu, bit %d; notice: %s\nthen: %s\n", i, flip.book,
                    flip.text, flip.file, (unsigned long long)flip.offset, flip.bit, got.notice, again.notice);
        undo(&f);
    }
    printf("     %d flips, %zu found and spoken of\n", N_FLIPS, n_noticed);
    CHECK(n_noticed > N_FLIPS / 2);
    free(got.logits);
    free(got.appended);
    tear_down(&f);
}

/* The notices name the place, and what became of the book; the next run has nothing to say. */
static void the_notice_names_the_block(void)
{
    struct fixture f;
    char place[128];
    set_up(&f);
    size_t n_bytes = f.vocab_size * sizeof(float);
    struct result got = {.logits = malloc(n_bytes), .appended = malloc(n_bytes)};
    struct flip flip = {.book = WHOLE, .text = WHOLE, .file = "layer.001", .bit = 3};
    flip.offset = (2 * f.manifests[WHOLE].capacity_blocks + 1) * kv_block_bytes(&f.geometry) + 99;
    apply(&f, &flip);
    read_text(&got, &f, f.folder, WHOLE, -1);
    snprintf(place, sizeof place, "KV book %s is damaged: layer 1, head 2, block 1 ", f.names[WHOLE]);
    CHECK(strstr(got.notice, place) != NULL);
    snprintf(place, sizeof place, "KV book %s was damaged: put back from %zu to its first 64 tokens", f.names[WHOLE],
             lengths[WHOLE]);
    CHECK(strstr(got.notice, place) != NULL);
    CHECK(memcmp(got.appended, f.appended[WHOLE], n_bytes) == 0);
    read_text(&got, &f, f.folder, WHOLE, -1);
    CHECK_EQ_STR(got.notice, "");
    CHECK(memcmp(got.appended, f.appended[WHOLE], n_bytes) == 0);
    /* The branch had its first blocks from the damaged book. */
    read_text(&got, &f, f.folder, BRANCHED, -1);
    snprintf(place, sizeof place, "KV book %s was damaged: removed", f.names[BRANCHED]);
    CHECK(strstr(got.notice, place) != NULL);
    CHECK(memcmp(got.appended, f.appended[BRANCHED], n_bytes) == 0);
    free(got.logits);
    free(got.appended);
    tear_down(&f);
}

/* A flight that no engine saved, with right checksums: what it says is looked at before it is believed. */
static void an_impossible_flight_is_not_taken_up(void) /* KV-8 */
{
    struct fixture f;
    set_up(&f);
    size_t n_bytes = f.vocab_size * sizeof(float);
    struct result got = {.logits = malloc(n_bytes), .appended = malloc(n_bytes)};
    for (int i = 0; i < 8 && test_n_failed_checks == 0; i++) {
        struct kv_manifest manifest = f.manifests[IN_FLIGHT];
        struct kv_flight *flight = &manifest.flight;
        char path[KV_PATH_SIZE];
        switch (i) {
        case 0: flight->phase = 2; break;
        case 1: flight->phase = UINT32_MAX; break;
        case 2: flight->layer = manifest.n_layers; break;
        case 3: flight->next_token = 0; break;
        case 4: flight->next_token = flight->span_end + 64; break;
        case 5: flight->kv_token = flight->span_first - 1; break;
        case 6: flight->kv_token = UINT64_MAX; break;
        default: flight->span_first = 0; break;
        }
        kv_manifest_seal(&manifest);
        kv_path(path, f.folder, "books/%s/manifest", f.names[IN_FLIGHT]);
        FILE *file = fopen(path, "r+e");
        CHECK(file && fwrite(&manifest, sizeof manifest, 1, file) == 1 && fclose(file) == 0);
        read_text(&got, &f, f.folder, IN_FLIGHT, -1);
        CHECK(memcmp(got.logits, f.logits[IN_FLIGHT], n_bytes) == 0);
        CHECK(memcmp(got.appended, f.appended[IN_FLIGHT], n_bytes) == 0);
        if (test_n_failed_checks > 0)
            fprintf(stderr, "flight %d\n", i);
        undo(&f);
    }
    free(got.logits);
    free(got.appended);
    tear_down(&f);
}

static const struct test tests[] = {
    {"an_impossible_flight_is_not_taken_up", an_impossible_flight_is_not_taken_up},
    {"the_notice_names_the_block", the_notice_names_the_block},
    {"every_flip_is_found_or_harmless", every_flip_is_found_or_harmless},
};

TEST_MAIN(tests)
