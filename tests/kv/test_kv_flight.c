/* A span in flight: kept, found again, gone on with or let go; and a flight that is of no use hurts nobody. */
#include "kv/kv_book.h"
#include "kv_test.h"

enum { SPAN_END = 500, RESIDUAL = SPAN_END * 6 };

struct fixture {
    char folder[KV_PATH_SIZE];
    struct kv_geometry geometry;
    struct kv_store *store;
    int32_t *text, *other; /* the same in the first 300 tokens */
    float residual[RESIDUAL];
};

/* A book whose first `frontier` tokens are committed, and whose span to SPAN_END is in flight: layers 0 and 1 have it,
 * layer 2 is at token `at`, layer 3 at the frontier. */
static void set_up(struct fixture *f, size_t frontier, size_t at)
{
    struct kv_book *book;
    quire_error err = {0};
    uint64_t seed = 77;
    kv_test_begin(f->folder);
    f->geometry = (struct kv_geometry){4, 2, 24, QUIRE_KV_F16};
    f->store = kv_test_store(f->folder, &f->geometry);
    f->text = kv_test_text(800, 21);
    f->other = kv_test_text(800, 22);
    memcpy(f->other, f->text, 300 * sizeof *f->text);
    for (int i = 0; i < RESIDUAL; i++)
        f->residual[i] = test_random_float(&seed);
    REQUIRE_OK(kv_book_open(&book, f->store, f->text, 800, false, &err));
    if (frontier) {
        REQUIRE_OK(kv_test_put(book, &f->geometry, f->text, 0, frontier, &err));
        REQUIRE_OK(kv_book_commit(book, f->text, frontier, NULL, 0, &err));
    }
    struct kv_flight flight = {.span_first = frontier, .span_end = SPAN_END, .phase = 3, .next_token = 17};
    /* Saved after each layer, as an engine would; the last one counts. */
    for (flight.layer = 1; flight.layer <= 2; flight.layer++) {
        REQUIRE_OK(
            kv_test_put_layer(book, &f->geometry, flight.layer - 1, f->text, frontier, SPAN_END - frontier, &err));
        flight.kv_token = frontier;
        REQUIRE_OK(kv_book_save_flight(book, f->text, 800, &flight, f->residual, 24, &err));
    }
    REQUIRE_OK(kv_test_put_layer(book, &f->geometry, 2, f->text, frontier, at - frontier, &err));
    flight.layer = 2;
    flight.kv_token = at;
    REQUIRE_OK(kv_book_save_flight(book, f->text, 800, &flight, f->residual, sizeof f->residual, &err));
    CHECK_EQ_INT(kv_book_frontier(book), frontier);
    /* What comes after the last save is lost. */
    REQUIRE_OK(kv_test_put_layer(book, &f->geometry, 2, f->text, at, SPAN_END - at, &err));
    REQUIRE_OK(kv_test_put_layer(book, &f->geometry, 3, f->text, frontier, 70, &err));
    kv_book_close(book);
}

static void tear_down(struct fixture *f)
{
    kv_store_close(f->store);
    kv_test_end(f->folder);
    free(f->text);
    free(f->other);
}

static size_t n_sides(const struct fixture *f)
{
    char book[KV_PATH_SIZE];
    kv_test_only_book(book, f->folder);
    /* manifest, tokens, about, lock, and two files for each layer */
    return kv_test_count_files(book) - 4 - 2 * f->geometry.n_layers;
}

static void a_flight_is_gone_on_with(void)
{
    static const size_t frontiers[] = {0, 64, 100, 128, 131}, ats[] = {131, 192, 200, 499, 500};
    for (size_t i = 0; i < 25; i++) {
        size_t frontier = frontiers[i / 5], at = ats[i % 5];
        struct fixture f;
        struct kv_book *book;
        struct kv_flight flight = {0};
        bool found = false;
        static float residual[RESIDUAL];
        float logits[KV_TEST_LOGITS];
        quire_error err = {0};
        set_up(&f, frontier, at);
        REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), frontier);
        CHECK_OK(kv_book_flight(book, &flight, &found));
        CHECK(found);
        CHECK_EQ_INT(flight.span_first, frontier);
        CHECK_EQ_INT(flight.span_end, SPAN_END);
        CHECK_EQ_INT(flight.layer, 2);
        CHECK_EQ_INT(flight.phase, 3);
        CHECK_EQ_INT(flight.next_token, 17);
        CHECK_EQ_INT(flight.kv_token, at);
        CHECK_OK(kv_book_load_residual(book, residual, sizeof residual, &err));
        CHECK(memcmp(residual, f.residual, sizeof residual) == 0);
        CHECK(kv_test_layer_holds(book, &f.geometry, 0, f.text, SPAN_END));
        CHECK(kv_test_layer_holds(book, &f.geometry, 1, f.text, SPAN_END));
        CHECK(kv_test_layer_holds(book, &f.geometry, 2, f.text, at));
        CHECK(kv_test_layer_holds(book, &f.geometry, 3, f.text, frontier));
        CHECK_OK(kv_test_put_layer(book, &f.geometry, 2, f.text, at, SPAN_END - at, &err));
        CHECK_OK(kv_test_put_layer(book, &f.geometry, 3, f.text, frontier, SPAN_END - frontier, &err));
        CHECK_OK(kv_book_commit(book, f.text, SPAN_END, NULL, 0, &err));
        CHECK_EQ_INT(n_sides(&f), 1);
        CHECK_OK(kv_test_put(book, &f.geometry, f.text, SPAN_END, 300, &err));
        kv_test_logits(logits, f.text, 800);
        CHECK_OK(kv_book_commit(book, f.text, 800, logits, KV_TEST_LOGITS, &err));
        CHECK(kv_test_holds(book, &f.geometry, f.text, 800));
        CHECK_OK(kv_book_verify(book, &err));
        CHECK_OK(kv_book_flight(book, &flight, &found));
        CHECK(!found);
        CHECK_EQ_INT(n_sides(&f), 2);
        kv_book_close(book);
        tear_down(&f);
    }
}

static void a_flight_that_nobody_takes_is_dropped_before_it_is_overwritten(void) /* KV-1 */
{
    struct fixture f;
    struct kv_book *book;
    struct kv_flight flight;
    bool found;
    quire_error err = {0};
    set_up(&f, 100, 300);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, false, &err));
    CHECK_EQ_INT(n_sides(&f), 3);                    /* tail, flight, residual */
    CHECK_OK(kv_book_flight(book, &flight, &found)); /* looking at it is not taking it */
    CHECK(found);
    CHECK_OK(kv_test_put_layer(book, &f.geometry, 0, f.text, 100, 150, &err));
    CHECK_EQ_INT(n_sides(&f), 1);
    kv_book_close(book); /* as a crash here would */
    REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 100);
    CHECK_OK(kv_book_flight(book, &flight, &found));
    CHECK(!found);
    CHECK(kv_test_holds(book, &f.geometry, f.text, 100));
    CHECK_OK(kv_test_put(book, &f.geometry, f.text, 100, 700, &err));
    CHECK_OK(kv_book_commit(book, f.text, 800, NULL, 0, &err));
    CHECK(kv_test_holds(book, &f.geometry, f.text, 800));
    CHECK_OK(kv_book_verify(book, &err));
    kv_book_close(book);
    tear_down(&f);
}

static void another_text_leaves_the_flight_alone(void)
{
    static const size_t frontiers[] = {0, 200};
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        struct kv_book *book;
        struct kv_flight flight;
        bool found;
        quire_error err = {0};
        set_up(&f, frontiers[i], 300);
        /* Another ending, and a text that ends within the span. */
        REQUIRE_OK(kv_book_open(&book, f.store, f.other, 800, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), frontiers[i] / 64 * 64);
        CHECK_OK(kv_book_flight(book, &flight, &found));
        CHECK(!found);
        CHECK_OK(kv_test_put(book, &f.geometry, f.other, frontiers[i] / 64 * 64, 800 - frontiers[i] / 64 * 64, &err));
        CHECK(kv_test_holds(book, &f.geometry, f.other, 800));
        kv_book_close(book);
        REQUIRE_OK(kv_book_open(&book, f.store, f.text, 400, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), frontiers[i] / 64 * 64);
        kv_book_close(book);
        REQUIRE_OK(kv_book_open(&book, f.store, f.text, SPAN_END, false, &err));
        CHECK_EQ_INT(kv_book_frontier(book), frontiers[i]);
        CHECK_OK(kv_book_flight(book, &flight, &found));
        CHECK(found);
        CHECK_OK(kv_book_load_residual(book, f.residual, sizeof f.residual, &err));
        CHECK(kv_test_layer_holds(book, &f.geometry, 1, f.text, SPAN_END));
        kv_book_close(book);
        tear_down(&f);
    }
}

static void a_flight_is_worth_more_than_a_short_beginning(void)
{
    struct fixture f;
    struct kv_book *book;
    struct kv_flight flight;
    bool found;
    quire_error err = {0};
    set_up(&f, 0, 300);
    REQUIRE_OK(kv_test_read(&book, f.store, &f.geometry, f.other, 300, NULL, &err));
    kv_book_close(book);
    /* 300 tokens in 4 layers against 500 in 2 (and more in flight): 1200 against 1000. */
    REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 300);
    kv_book_close(book);
    tear_down(&f);
    set_up(&f, 0, 300);
    REQUIRE_OK(kv_test_read(&book, f.store, &f.geometry, f.other, 200, NULL, &err));
    kv_book_close(book);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, false, &err));
    CHECK_EQ_INT(kv_book_frontier(book), 0);
    CHECK_OK(kv_book_flight(book, &flight, &found));
    CHECK(found);
    kv_book_close(book);
    tear_down(&f);
}

static void contradictory_flights_are_refused(void)
{
    struct fixture f;
    struct kv_book *book;
    quire_error err = {0};
    set_up(&f, 100, 300);
    REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, true, &err));
    CHECK_OK(kv_test_put_layer(book, &f.geometry, 0, f.text, 0, 300, &err));
    struct kv_flight good = {.span_end = 400, .layer = 0, .kv_token = 300}, bad;
    bad = good;
    bad.span_end = 801;
    CHECK_EQ_INT(kv_book_save_flight(book, f.text, 800, &bad, f.residual, 8, NULL), QUIRE_ERR_USAGE);
    bad = good;
    bad.span_end = 299;
    CHECK_EQ_INT(kv_book_save_flight(book, f.text, 800, &bad, f.residual, 8, NULL), QUIRE_ERR_USAGE);
    bad = good;
    bad.layer = 5;
    CHECK_EQ_INT(kv_book_save_flight(book, f.text, 800, &bad, f.residual, 8, NULL), QUIRE_ERR_USAGE);
    bad = good;
    bad.kv_token = 299;
    CHECK_EQ_INT(kv_book_save_flight(book, f.text, 800, &bad, f.residual, 8, NULL), QUIRE_ERR_USAGE);
    CHECK_OK(kv_book_save_flight(book, f.text, 800, &good, NULL, 0, &err));
    CHECK_OK(kv_book_load_residual(book, f.residual, 0, &err));
    CHECK_EQ_INT(kv_book_save_flight(book, f.other, 800, &good, NULL, 0, NULL), QUIRE_ERR_USAGE); /* other ids */
    kv_book_close(book);
    tear_down(&f);
}

/* Damage to a flight costs the flight, not the frontier. */
static void damaged_flights_are_not_used(void) /* KV-6 */
{
    struct fixture f;
    struct kv_book *book;
    struct kv_flight flight;
    char folder[KV_PATH_SIZE], name[32] = "";
    static float residual[RESIDUAL];
    bool found;
    quire_error err = {0};
    for (int round = 0; round < 3; round++) {
        set_up(&f, 100, 300);
        REQUIRE_OK(kv_book_open(&book, f.store, f.text, 800, false, &err));
        kv_test_only_book(folder, f.folder);
        enum kv_side kind = round == 0 ? KV_SIDE_FLIGHT : KV_SIDE_RESIDUAL;
        snprintf(name, sizeof name, "%s.%llu", round == 0 ? "flight" : "residual",
                 (unsigned long long)book->manifest.sides[kind].generation);
        kv_test_flip(folder, name, 101);
        CHECK_OK(kv_book_flight(book, &flight, &found));
        CHECK(found);
        if (round < 2) {
            CHECK_EQ_INT(kv_book_load_residual(book, residual, sizeof residual, &err), QUIRE_ERR_FORMAT);
            CHECK_MESSAGE(err, name);
            CHECK(kv_store_notice(f.store) && strstr(kv_store_notice(f.store), name));
        } else {
            CHECK_EQ_INT(kv_book_load_residual(book, residual, 400, &err), QUIRE_ERR_MISMATCH);
            CHECK_MESSAGE(err, "expected 400");
        }
        quire_error_clear(&err);
        CHECK(kv_test_holds(book, &f.geometry, f.text, 100));
        CHECK_OK(kv_test_put(book, &f.geometry, f.text, 100, 700, &err));
        CHECK_OK(kv_book_commit(book, f.text, 800, NULL, 0, &err));
        CHECK(kv_test_holds(book, &f.geometry, f.text, 800));
        kv_book_close(book);
        tear_down(&f);
    }
}

static const struct test tests[] = {
    {"a_flight_is_gone_on_with", a_flight_is_gone_on_with},
    {"a_flight_that_nobody_takes_is_dropped_before_it_is_overwritten",
     a_flight_that_nobody_takes_is_dropped_before_it_is_overwritten},
    {"another_text_leaves_the_flight_alone", another_text_leaves_the_flight_alone},
    {"a_flight_is_worth_more_than_a_short_beginning", a_flight_is_worth_more_than_a_short_beginning},
    {"contradictory_flights_are_refused", contradictory_flights_are_refused},
    {"damaged_flights_are_not_used", damaged_flights_are_not_used},
};
TEST_MAIN(tests)
