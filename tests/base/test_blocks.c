/* The block types against what llama.cpp computes of the same bytes (data/, made by
 * tests/parity/make_blocks_golden.py), and what is written against what llama.cpp's quantisers lose. */
#include "base/blocks.h"
#include "base/hash.h"
#include "test.h"

enum { ROWS = 64, COLUMNS = 1024, N = ROWS * COLUMNS };

static size_t stored_bytes(quire_dtype type, size_t n)
{
    return n / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
}

static void unpacks_as_llama(void)
{
    for (int i = 0; i < QUIRE_DTYPE_COUNT; i++) {
        quire_dtype type = (quire_dtype)i;
        size_t elements = quire_dtype_block_elements(type), bytes = quire_dtype_block_bytes(type);
        static unsigned char file[65536];
        static float got[8192];
        char path[512];
        if (elements == 1)
            continue;
        snprintf(path, sizeof path, "%s/tests/base/data/%s.blocks", QUIRE_SOURCE_DIR, quire_dtype_name(type));
        FILE *f = fopen(path, "rb");
        CHECK(f != NULL);
        if (!f)
            continue;
        size_t size = fread(file, 1, sizeof file, f), n_blocks = size / (bytes + 4 * elements);
        fclose(f);
        CHECK(n_blocks >= 6 && n_blocks * (bytes + 4 * elements) == size);
        blocks_unpack(type, got, file, n_blocks * elements);
        CHECK_EQ_INT(memcmp(got, file + n_blocks * bytes, n_blocks * elements * sizeof *got), 0);
    }
}

/* As make_blocks_golden.py makes them. */
static void normal_rows(float *rows)
{
    uint64_t seed = 7;
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < 12; j++)
            sum += (double)test_random_float(&seed);
        rows[i] = (float)(sum / 2);
    }
}

static void trained_rows(float *rows)
{
    static unsigned char file[N / 32 * 34];
    FILE *f = fopen(QUIRE_SOURCE_DIR "/tests/base/data/trained.q8_0", "rb");
    CHECK(f != NULL);
    if (!f)
        return;
    CHECK_EQ_INT(fread(file, 1, sizeof file, f), sizeof file);
    fclose(f);
    blocks_unpack(QUIRE_DTYPE_Q8_0, rows, file, N);
}

static double packed_error(quire_dtype type, const float *rows)
{
    static unsigned char stored[2 * N];
    static float back[N];
    double sum = 0;
    CHECK(blocks_pack(type, stored, rows, N));
    CHECK(stored_bytes(type, N) <= sizeof stored);
    blocks_unpack(type, back, stored, N);
    for (size_t i = 0; i < N; i++)
        sum += ((double)back[i] - (double)rows[i]) * ((double)back[i] - (double)rows[i]);
    return sum / N;
}

/* Not worse than llama.cpp's quantisers by more than one in fifty. */
static void loses_no_more_than_llama(void)
{
    static float normal[N], trained[N];
    char name[16], kind[16];
    double theirs;
    int n_lines = 0;
    FILE *f = fopen(QUIRE_SOURCE_DIR "/tests/base/data/quality.txt", "r");
    CHECK(f != NULL);
    normal_rows(normal);
    trained_rows(trained);
    while (f && fscanf(f, "%15s %15s %lf", name, kind, &theirs) == 3) {
        quire_dtype type = QUIRE_DTYPE_F32;
        quire_error err = {0};
        CHECK_OK(quire_dtype_parse(&type, name, &err));
        double ours = packed_error(type, strcmp(kind, "normal") == 0 ? normal : trained);
        printf("     %s, %s rows: mean squared error %.4g, llama.cpp's %.4g\n", name, kind, ours, theirs);
        CHECK(ours <= 1.02 * theirs);
        CHECK(ours >= 0.3 * theirs); /* else something is not what it seems */
        n_lines++;
    }
    CHECK_EQ_INT(n_lines, 8);
    if (f)
        fclose(f);
}

/* The same bytes whatever the compiler and the machine: digests of what is written for the normal rows. */
static void writes_the_same_everywhere(void)
{
    static const struct {
        quire_dtype type;
        uint64_t digest;
    } known[] = {{QUIRE_DTYPE_F16, 0xF9FE495D673E33E1},  {QUIRE_DTYPE_BF16, 0xD194A7E8A30BF424},
                 {QUIRE_DTYPE_Q8_0, 0xB99E1E733744A53A}, {QUIRE_DTYPE_Q4_0, 0x1A069CA76AB8E905},
                 {QUIRE_DTYPE_Q4_K, 0x30C1F30395512085}, {QUIRE_DTYPE_Q6_K, 0x613402AADEAB82CB}};
    static float rows[N];
    static unsigned char stored[2 * N];
    normal_rows(rows);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        CHECK(blocks_pack(known[i].type, stored, rows, N));
        CHECK_EQ_INT(hash64(stored, stored_bytes(known[i].type, N)), known[i].digest);
    }
}

/* What a type stores exactly comes back the same, from every type that is written. */
static void floats_come_back(void)
{
    static const quire_dtype types[] = {QUIRE_DTYPE_F32, QUIRE_DTYPE_F16, QUIRE_DTYPE_BF16};
    static const float exact[] = {0.0f, -0.0f, 1.0f, -1.5f, 0x1p-14f, 0x1.8p+14f, INFINITY, -INFINITY};
    enum { N_EXACT = sizeof exact / sizeof exact[0] };
    for (size_t t = 0; t < 3; t++) {
        float back[N_EXACT];
        unsigned char stored[N_EXACT * 4];
        CHECK(blocks_pack(types[t], stored, exact, N_EXACT));
        blocks_unpack(types[t], back, stored, N_EXACT);
        CHECK_EQ_INT(memcmp(back, exact, sizeof exact), 0);
        CHECK(blocks_pack(types[t], stored, &(float){NAN}, 1));
        blocks_unpack(types[t], back, stored, 1);
        CHECK(isnan(back[0]));
    }
    unsigned char stored[4];
    CHECK(blocks_pack(QUIRE_DTYPE_F16, stored, &(float){65519.0f}, 1));
    CHECK(!blocks_pack(QUIRE_DTYPE_F16, stored, &(float){65520.0f}, 1));
    CHECK(!blocks_pack(QUIRE_DTYPE_BF16, stored, &(float){3.4e38f}, 1));
}

/* Blocks that a search could stumble over. */
static void edges_of_blocks(void)
{
    for (int i = 0; i < QUIRE_DTYPE_COUNT; i++) {
        quire_dtype type = (quire_dtype)i;
        static float in[256], back[256];
        static unsigned char stored[256 * 4];
        if (!blocks_can_pack(type) || quire_dtype_block_elements(type) == 1)
            continue;
        const float fills[] = {0.0f, 1e-42f, -1e-30f, 1e-6f, -1.0f, 2.5f, 1000.0f};
        for (size_t k = 0; k < sizeof fills / sizeof fills[0]; k++) {
            for (size_t j = 0; j < 256; j++)
                in[j] = fills[k];
            CHECK(blocks_pack(type, stored, in, 256));
            blocks_unpack(type, back, stored, 256);
            for (size_t j = 0; j < 256; j++)
                CHECK_NEAR((double)back[j], (double)in[j], 0x1p-23 + fabs((double)in[j]) * 0.004);
        }
        /* One number among zeros, at every place. */
        for (size_t at = 0; at < 256; at += 5) {
            memset(in, 0, sizeof in);
            in[at] = at % 2 ? 3.0f : -3.0f;
            CHECK(blocks_pack(type, stored, in, 256));
            blocks_unpack(type, back, stored, 256);
            for (size_t j = 0; j < 256; j++)
                CHECK_NEAR((double)back[j], (double)in[j], 0.01);
        }
        const float refused[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e9f};
        for (size_t k = 0; k < sizeof refused / sizeof refused[0]; k++) {
            in[200] = refused[k];
            CHECK(!blocks_pack(type, stored, in, 256));
        }
    }
}

static void names(void)
{
    quire_dtype type;
    quire_error err = {0};
    for (int i = 0; i < QUIRE_DTYPE_COUNT; i++) {
        CHECK_OK(quire_dtype_parse(&type, quire_dtype_name((quire_dtype)i), &err));
        CHECK_EQ_INT(type, i);
    }
    CHECK_OK(quire_dtype_parse(&type, "Q4_K", &err));
    CHECK_EQ_INT(type, QUIRE_DTYPE_Q4_K);
    CHECK_EQ_INT(quire_dtype_parse(&type, "q4_k_m", &err), QUIRE_ERR_USAGE);
    CHECK_MESSAGE(err, "unknown number type 'q4_k_m': expected f32, f16, bf16, q8_0, q4_0, q4_1");
    CHECK_MESSAGE(err, " or iq4_xs");
}

static const struct test tests[] = {
    {"unpacks_as_llama", unpacks_as_llama},
    {"loses_no_more_than_llama", loses_no_more_than_llama},
    {"writes_the_same_everywhere", writes_the_same_everywhere},
    {"floats_come_back", floats_come_back},
    {"edges_of_blocks", edges_of_blocks},
    {"names", names},
};

TEST_MAIN(tests)
