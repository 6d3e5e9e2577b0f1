/* The pure parts: conversions and norms, the manifest's checks, the chain, the choice among books. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/kv_rows.h"
#include "kv/kv_book.h"
#include "kv/kv_convert.h"
#include "kv/kv_lookup.h"
#include "kv_test.h"

static void conversion_rounds_every_element(void)
{
    enum { ROWS = 5, STRIDE = 300 };
    static float in[ROWS * STRIDE];
    static uint16_t out[ROWS * STRIDE + 1];
    uint64_t seed = 1;
    for (size_t i = 0; i < ROWS * STRIDE; i++)
        in[i] = f32_from_bits((uint32_t)test_random(&seed));
    for (size_t dim = 1; dim < STRIDE; dim += 7)
        for (int t = 1; t < 3; t++) {
            quire_kv_type type = t == 1 ? QUIRE_KV_F16 : QUIRE_KV_BF16;
            out[ROWS * dim] = 0x1234;
            kv_convert_rows(out, 0, in, ROWS, dim, STRIDE, type);
            bool is_right = true;
            for (size_t r = 0; r < ROWS; r++)
                for (size_t c = 0; c < dim; c++) {
                    float x = in[r * STRIDE + c];
                    is_right = is_right && out[r * dim + c] == (t == 1 ? f32_to_f16(x) : f32_to_bf16(x));
                }
            CHECK(is_right);
            CHECK_EQ_INT(out[ROWS * dim], 0x1234);
        }
}

/* Integers are within half a step of what was put, one step being the largest magnitude of the row (or group) divided
 * by 127 (or 7), and rounding them again changes nothing (KV-2). */
static void integers_are_near_and_stay(void)
{
    enum { DIM = 150 };
    static float in[DIM], out[DIM];
    static unsigned char side[64 * (DIM + 64)], again[64 * (DIM + 64)];
    uint64_t seed = 12;
    for (int round = 0; round < 4000; round++) {
        quire_kv_type type = round % 2 ? QUIRE_KV_INT4 : QUIRE_KV_INT8;
        size_t dim = 1 + test_random(&seed) % DIM, row = test_random(&seed) % 64;
        int exponent = (int)(test_random(&seed) % 180) - 90;
        for (size_t c = 0; c < dim; c++)
            in[c] = ldexpf(test_random_float(&seed), exponent - (int)(test_random(&seed) % 8));
        kv_convert_rows(side, row, in, 1, dim, dim, type);
        kv_rows_unpack(out, side, type, dim, row, 0, dim);
        size_t group = type == QUIRE_KV_INT8 ? dim : KV_GROUP;
        for (size_t first = 0; first < dim; first += group) {
            double largest = 0, step;
            for (size_t c = first; c < dim && c < first + group; c++)
                largest = fmax(largest, fabs((double)in[c]));
            step = largest / (type == QUIRE_KV_INT8 ? 127 : 7);
            for (size_t c = first; c < dim && c < first + group; c++)
                CHECK_NEAR((double)out[c] / step, (double)in[c] / step, 0.5 * 1.004);
        }
        memcpy(again, side, sizeof side);
        kv_convert_rows(again, row, out, 1, dim, dim, type);
        CHECK_EQ_INT(memcmp(again, side, sizeof side), 0);
    }
}

/* Zero stays zero, and what is no number is seen. */
static void integers_of_odd_rows(void)
{
    static unsigned char side[64 * 40];
    float out[16];
    for (int t = QUIRE_KV_INT8; t <= QUIRE_KV_INT4; t++) {
        float zeros[16] = {0, 1e-35f, -1e-38f}, bad[16] = {1, NAN, 3}, infinite[16] = {1, 2, -INFINITY};
        quire_kv_type type = (quire_kv_type)t;
        kv_convert_rows(side, 3, zeros, 1, 16, 16, type);
        kv_rows_unpack(out, side, type, 16, 3, 0, 16);
        CHECK(out[0] == 0 && out[1] == 0 && out[15] == 0);
        kv_convert_rows(side, 3, bad, 1, 16, 16, type);
        kv_rows_unpack(out, side, type, 16, 3, 0, 16);
        CHECK(isnan(out[0]) && isnan(out[1]));
        CHECK(isinf(kv_key_norm_max(side, 64, 16, type)));
        kv_convert_rows(side, 3, infinite, 1, 16, 16, type);
        kv_rows_unpack(out, side, type, 16, 3, 0, 16);
        CHECK(isnan(out[0]) && isnan(out[2]));
    }
}

static double exact_norm(const void *keys, size_t row, size_t dim, quire_kv_type type)
{
    float numbers[200];
    long double sum = 0;
    kv_rows_unpack(numbers, keys, type, dim, row, 0, dim);
    for (size_t c = 0; c < dim; c++)
        sum += (long double)numbers[c] * numbers[c];
    return (double)sqrtl(sum);
}

static void the_norm_is_a_bound_and_a_tight_one(void)
{
    static const quire_kv_type types[] = {QUIRE_KV_F32, QUIRE_KV_F16, QUIRE_KV_BF16, QUIRE_KV_INT8, QUIRE_KV_INT4};
    static float in[64 * 200], keys[64 * 200];
    uint64_t seed = 2;
    for (int round = 0; round < 60; round++) {
        size_t dim = 1 + test_random(&seed) % 200;
        quire_kv_type type = types[round % QUIRE_KV_TYPE_COUNT];
        double max = 0;
        for (size_t i = 0; i < 64 * dim; i++)
            in[i] = test_random_float(&seed) * 9;
        kv_convert_rows(keys, 0, in, 64, dim, dim, type);
        for (size_t r = 0; r < 64; r++)
            max = fmax(max, exact_norm(keys, r, dim, type));
        double norm = (double)kv_key_norm_max(keys, 64, dim, type);
        CHECK(norm >= max);
        CHECK_NEAR(norm, max, max * 0x1p-22);
    }
    memset(keys, 0, sizeof keys);
    CHECK(kv_key_norm_max(keys, 64, 3, QUIRE_KV_F32) == 0);
    keys[17] = NAN;
    CHECK(isinf(kv_key_norm_max(keys, 64, 3, QUIRE_KV_F32)));
    keys[17] = 3e38f; /* its square is beyond float */
    CHECK_NEAR((double)kv_key_norm_max(keys, 64, 3, QUIRE_KV_F32) / 3e38, 1, 1e-6);
}

static void the_chain_goes_block_by_block(void)
{
    int32_t *ids = kv_test_text(300, 3);
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_F16), other = kv_test_geometry(QUIRE_KV_BF16);
    uint64_t seed = kv_identity_hash(&geometry, "a"), whole = kv_chain(seed, ids, 300);
    CHECK(seed != kv_identity_hash(&geometry, "b"));
    CHECK(seed != kv_identity_hash(&other, "a"));
    CHECK(kv_chain(seed, ids, 0) == seed);
    for (size_t cut = 0; cut <= 256; cut += 64)
        CHECK(kv_chain(kv_chain(seed, ids, cut), ids + cut, 300 - cut) == whole);
    for (size_t n = 1; n < 300; n++)
        CHECK(kv_chain(seed, ids, n) != kv_chain(seed, ids, n - 1));
    ids[0]++;
    CHECK(kv_chain(seed, ids, 300) != whole);
    free(ids);
}

static struct kv_manifest good_manifest(void)
{
    struct kv_manifest m = {.id = 5,
                            .generation = 3,
                            .n_layers = 2,
                            .n_heads = 3,
                            .head_dim = 20,
                            .type = 1,
                            .capacity_blocks = 1024,
                            .parent_id = 4,
                            .base_tokens = 128,
                            .frontier = 300,
                            .n_ids = 400,
                            .depth = 2,
                            .flags = KV_HAS_FLIGHT,
                            .flight = {.span_first = 300, .span_end = 400, .layer = 1}};
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_F16);
    m.sides[KV_SIDE_TAIL] = (struct kv_side_ref){2, kv_tail_bytes(&geometry), 1};
    m.sides[KV_SIDE_LOGITS] = (struct kv_side_ref){2, 148, 1};
    m.sides[KV_SIDE_FLIGHT] = (struct kv_side_ref){3, 16 + kv_tail_bytes(&geometry), 1};
    m.sides[KV_SIDE_RESIDUAL] = (struct kv_side_ref){3, 4000, 1};
    memcpy(m.identity, "x", 2);
    return m;
}

static void contradictory_manifests_are_refused(void) /* KV-8 */
{
    struct kv_manifest good = good_manifest(), m;
    struct kv_geometry geometry = kv_test_geometry(QUIRE_KV_F16);
    quire_error err = {0};
    kv_manifest_seal(&good);
    CHECK_OK(kv_manifest_check(&good, sizeof good, "m", &err));
    CHECK(kv_manifest_matches(&good, &geometry, "x"));
    CHECK(!kv_manifest_matches(&good, &geometry, "y"));
#define CHECK_CONTRADICTION(change)                                                                                    \
    do {                                                                                                               \
        m = good;                                                                                                      \
        m.change;                                                                                                      \
        kv_manifest_seal(&m);                                                                                          \
        CHECK_EQ_INT(kv_manifest_check(&m, sizeof m, "m", NULL), QUIRE_ERR_FORMAT);                                    \
    } while (0)
    CHECK_CONTRADICTION(id = 0);
    CHECK_CONTRADICTION(generation = 0);
    CHECK_CONTRADICTION(generation = 2); /* older than the files that it names */
    CHECK_CONTRADICTION(n_layers = 0);
    CHECK_CONTRADICTION(n_layers = UINT32_MAX);
    CHECK_CONTRADICTION(n_heads = 1u << 20);
    CHECK_CONTRADICTION(head_dim = 21); /* another tail */
    CHECK_CONTRADICTION(type = 3);
    CHECK_CONTRADICTION(capacity_blocks = 0);
    CHECK_CONTRADICTION(capacity_blocks = 4);
    CHECK_CONTRADICTION(capacity_blocks = UINT64_MAX / 2);
    CHECK_CONTRADICTION(parent_id = 0);
    CHECK_CONTRADICTION(base_tokens = 0);
    CHECK_CONTRADICTION(base_tokens = 130);
    CHECK_CONTRADICTION(base_tokens = 320);
    CHECK_CONTRADICTION(frontier = 401);
    CHECK_CONTRADICTION(frontier = 256);
    CHECK_CONTRADICTION(n_ids = 401);
    CHECK_CONTRADICTION(n_ids = UINT64_MAX);
    CHECK_CONTRADICTION(depth = 0);
    CHECK_CONTRADICTION(depth = KV_DEPTH_MAX + 1);
    CHECK_CONTRADICTION(flags = 0);
    CHECK_CONTRADICTION(flight.span_first = 401);
    CHECK_CONTRADICTION(flight.layer = 3);
    CHECK_CONTRADICTION(sides[KV_SIDE_TAIL].generation = 0);
    CHECK_CONTRADICTION(sides[KV_SIDE_TAIL].n_bytes++);
    CHECK_CONTRADICTION(sides[KV_SIDE_LOGITS].n_bytes++);
    CHECK_CONTRADICTION(sides[KV_SIDE_FLIGHT].n_bytes++);
    CHECK_CONTRADICTION(sides[KV_SIDE_FLIGHT].generation = 0);
    m = good;
    memset(m.identity, 'x', sizeof m.identity);
    kv_manifest_seal(&m);
    CHECK_EQ_INT(kv_manifest_check(&m, sizeof m, "m", NULL), QUIRE_ERR_FORMAT);
    CHECK_EQ_INT(kv_manifest_check(&good, sizeof good - 1, "m", NULL), QUIRE_ERR_FORMAT);
    CHECK_EQ_INT(kv_manifest_check(&good, 11, "m", NULL), QUIRE_ERR_FORMAT);
    CHECK_EQ_INT(kv_manifest_check(&good, 0, "m", NULL), QUIRE_ERR_FORMAT);
}

/* Random manifests, right checksum: whatever passes the check keeps to what the rest relies on. */
static void manifests_that_pass_are_within_bounds(void) /* KV-8 */
{
    uint64_t seed = 4;
    size_t n_passed = 0;
    for (int i = 0; i < 200000; i++) {
        struct kv_manifest m = good_manifest();
        for (int j = 0; j < 2; j++) {
            size_t offset = 12 + test_random(&seed) % (264 - 12) / 4 * 4;
            uint32_t value = (uint32_t)(test_random(&seed) >> (test_random(&seed) % 62));
            memcpy((char *)&m + offset, &value, sizeof value);
        }
        kv_manifest_seal(&m);
        if (kv_manifest_check(&m, sizeof m, "m", NULL) != QUIRE_OK)
            continue;
        n_passed++;
        struct kv_geometry geometry = {m.n_layers, m.n_heads, m.head_dim, (quire_kv_type)m.type};
        uint64_t layer = 0, summary = 0;
        CHECK(kv_geometry_check(&geometry, NULL) == QUIRE_OK);
        CHECK(kv_layer_file_bytes(&layer, &summary, &geometry, m.capacity_blocks, NULL) == QUIRE_OK);
        CHECK(layer <= INT64_MAX && layer / kv_block_bytes(&geometry) / m.n_heads == m.capacity_blocks);
        CHECK(m.base_tokens <= m.frontier && m.frontier <= m.n_ids && m.n_ids <= kv_book_room(&m));
        CHECK(m.base_tokens % 64 == 0 && m.n_ids <= KV_TOKENS_MAX);
    }
    CHECK(n_passed > 1000);
}

static void disk_bytes_count_what_is_written(void)
{
    struct kv_geometry geometry = {32, 32, 128, QUIRE_KV_BF16};
    CHECK_EQ_INT(kv_block_bytes(&geometry), 32768);
    CHECK_EQ_INT(kv_disk_bytes(&geometry, 64), 32ll * 32 * (32768 + 16) + 264 + 1152);
    CHECK_EQ_INT(kv_disk_bytes(&geometry, 65), 2 * 32ll * 32 * (32768 + 16) + 2 * 264 + 1152);
    geometry.type = QUIRE_KV_INT8; /* a scale for each token of keys and of values */
    CHECK_EQ_INT(kv_block_bytes(&geometry), 2 * 64 * (128 + 2));
    geometry.type = QUIRE_KV_INT4; /* a scale for each 32 channels */
    CHECK_EQ_INT(kv_block_bytes(&geometry), 2 * 64 * (64 + 4 * 2));
    geometry.type = QUIRE_KV_BF16;
    /* The Great Gatsby through a 7B model: 35 GiB. */
    CHECK_NEAR((double)kv_disk_bytes(&geometry, 71899) / (1u << 30), 35.1, 0.1);
}

/* A candidate of one layer with room for 65536 tokens. */
static struct kv_candidate candidate(size_t n_common, size_t frontier, bool has_logits)
{
    struct kv_candidate c = {.n_common = n_common};
    c.manifest = (struct kv_manifest){.n_layers = 1, .capacity_blocks = 1024, .frontier = frontier, .n_ids = frontier};
    c.manifest.sides[KV_SIDE_LOGITS].generation = has_logits;
    return c;
}

static void check_choice(const struct kv_candidate *candidates, size_t n_candidates, size_t n, enum kv_use use,
                         size_t index, size_t n_tokens)
{
    struct kv_choice choice = kv_choose(candidates, n_candidates, n);
    CHECK_EQ_INT(choice.use, use);
    if (use != KV_USE_NONE) {
        CHECK_EQ_INT(choice.candidate, index);
        CHECK_EQ_INT(choice.n_tokens, n_tokens);
    }
}

static void the_choice_leaves_the_least_to_compute(void)
{
    struct kv_candidate c[4];
    check_choice(NULL, 0, 500, KV_USE_NONE, 0, 0);
    c[0] = candidate(500, 500, true);
    check_choice(c, 1, 500, KV_USE_AS_IS, 0, 500);
    check_choice(c, 1, 501, KV_USE_GO_ON, 0, 500);
    check_choice(c, 1, 65536, KV_USE_GO_ON, 0, 500);
    check_choice(c, 1, 65537, KV_USE_BRANCH, 0, 448); /* no room */
    c[0].is_only_parent = true;
    check_choice(c, 1, 500, KV_USE_BRANCH, 0, 448);
    check_choice(c, 1, 501, KV_USE_BRANCH, 0, 448);
    c[0].is_unusable = true;
    check_choice(c, 1, 500, KV_USE_NONE, 0, 0);
    c[0] = candidate(500, 500, false);
    check_choice(c, 1, 500, KV_USE_BRANCH, 0, 448);
    c[0] = candidate(512, 512, false);
    check_choice(c, 1, 512, KV_USE_BRANCH, 0, 448);
    c[0] = candidate(63, 500, true);
    check_choice(c, 1, 400, KV_USE_NONE, 0, 0);
    /* More tokens win; among equals the book itself before a branch, the flat before the deep. */
    c[0] = candidate(300, 300, true);
    c[1] = candidate(390, 500, true);
    check_choice(c, 2, 500, KV_USE_BRANCH, 1, 384);
    c[1] = candidate(256, 500, true);
    check_choice(c, 2, 500, KV_USE_GO_ON, 0, 300);
    c[0] = candidate(256, 256, true);
    check_choice(c, 2, 500, KV_USE_GO_ON, 0, 256);
    c[0] = candidate(256, 300, true);
    c[0].manifest.depth = 1;
    check_choice(c, 2, 500, KV_USE_BRANCH, 1, 256);
    /* The blocks that are wanted are the parent's. */
    c[0] = candidate(200, 500, true);
    c[0].manifest.base_tokens = 192;
    check_choice(c, 1, 400, KV_USE_NONE, 0, 0);
    c[0].manifest.base_tokens = 128;
    check_choice(c, 1, 400, KV_USE_BRANCH, 0, 192);
    c[0].manifest.depth = KV_DEPTH_MAX;
    check_choice(c, 1, 400, KV_USE_NONE, 0, 0);
    /* Another text's flight is not overwritten. */
    c[0] = candidate(100, 100, false);
    c[0].manifest.flags = KV_HAS_FLIGHT;
    check_choice(c, 1, 400, KV_USE_BRANCH, 0, 64);
    c[0].is_flight_ours = true;
    check_choice(c, 1, 400, KV_USE_GO_ON, 0, 100);
}

static const struct test tests[] = {
    {"conversion_rounds_every_element", conversion_rounds_every_element},
    {"integers_are_near_and_stay", integers_are_near_and_stay},
    {"integers_of_odd_rows", integers_of_odd_rows},
    {"the_norm_is_a_bound_and_a_tight_one", the_norm_is_a_bound_and_a_tight_one},
    {"the_chain_goes_block_by_block", the_chain_goes_block_by_block},
    {"contradictory_manifests_are_refused", contradictory_manifests_are_refused},
    {"manifests_that_pass_are_within_bounds", manifests_that_pass_are_within_bounds},
    {"disk_bytes_count_what_is_written", disk_bytes_count_what_is_written},
    {"the_choice_leaves_the_least_to_compute", the_choice_leaves_the_least_to_compute},
};
TEST_MAIN(tests)
