/* A SentencePiece model; where it is one, a text goes through it and back, in two ways that must agree. Byte 0, bit 0:
 * the others are a plan, and a model is made that has its pieces and settings, whose lengths are right; else they are
 * the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "quire/quire.h"

enum { MOST = 1 << 16 };

static uint8_t model[MOST];
static size_t n_model;

static void add(const void *bytes, size_t n)
{
    if (n > MOST - n_model)
        return;
    memcpy(model + n_model, bytes, n);
    n_model += n;
}

static void add_byte(unsigned byte)
{
    add(&(uint8_t){(uint8_t)byte}, 1);
}

/* A plan's step: a byte that says what, and what follows it. */
static size_t add_step(const uint8_t *plan, size_t n)
{
    size_t n_text = n > 1 ? plan[1] % 9 : 0;
    if (n < 8 + n_text)
        return n;
    if (plan[0] < 0xE0) { /* a piece: text, score, type */
        add_byte(1 << 3 | 2);
        add_byte((unsigned)n_text + 9);
        add_byte(1 << 3 | 2);
        add_byte((unsigned)n_text);
        add(plan + 8, n_text);
        add_byte(2 << 3 | 5);
        add(plan + 2, 4);
        add_byte(3 << 3);
        add_byte(plan[0] & 7);
        return 8 + n_text;
    }
    /* A setting: of how it was made, the normaliser, the denormaliser; a number or bytes. */
    static const unsigned messages[] = {2, 3, 3, 5};
    add_byte(messages[plan[0] & 3] << 3 | 2);
    add_byte(3);
    add_byte((plan[6] % 12 + 1u) << 3);
    add_byte(plan[7] & 1);
    add_byte(0);
    return 8;
}

static void make_model(const uint8_t *plan, size_t n)
{
    static const uint8_t unknown[] = "\x0A\x09\x0A\x05<unk>\x18\x02";
    n_model = 0;
    add(unknown, sizeof unknown - 1);
    while (n > 0) {
        size_t n_step = add_step(plan, n);
        plan += n_step;
        n -= n_step;
    }
}

static void use(const quire_tokenizer *tokenizer)
{
    static const char text[] =
        "  The  quick <unk></s> br\xc3\xb6wn ab aab \xe2\x96\x81 fox, 1234 \xe2\x80\x94\n\n\taaaaaab ";
    int32_t *ids;
    size_t n_ids, n_bytes, n_met = 0;
    const char *bytes;
    quire_encoder *encoder;
    quire_decoder *decoder;
    quire_ids given;
    if (quire_encode(tokenizer, text, sizeof text - 1, true, &ids, &n_ids, NULL) != QUIRE_OK ||
        quire_encoder_open(&encoder, tokenizer, true, NULL) != QUIRE_OK)
        abort();
    for (size_t i = 0; i < sizeof text; i++) {
        quire_status status = i < sizeof text - 1 ? quire_encoder_feed(encoder, text + i, 1, &given, NULL)
                                                  : quire_encoder_finish(encoder, &given, NULL);
        if (status != QUIRE_OK || given.n_ids > n_ids - n_met ||
            (given.n_ids > 0 && memcmp(given.ids, ids + n_met, given.n_ids * sizeof *ids) != 0))
            abort();
        n_met += given.n_ids;
    }
    if (n_met != n_ids || quire_decoder_open(&decoder, tokenizer, true, NULL) != QUIRE_OK)
        abort();
    for (size_t i = 0; i < n_ids; i++)
        if (quire_decoder_feed(decoder, ids[i], &bytes, &n_bytes, NULL) != QUIRE_OK)
            abort();
    quire_decoder_finish(decoder, &bytes, &n_bytes, NULL);
    quire_decoder_close(decoder);
    quire_encoder_close(encoder);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    quire_tokenizer *tokenizer;
    if (size < 1)
        return 0;
    snprintf(path, sizeof path, "%s/spiece.model", fuzz_folder());
    if (data[0] & 1) {
        make_model(data + 1, size - 1);
        fuzz_write(path, model, n_model);
    } else {
        fuzz_write(path, data + 1, size - 1);
    }
    if (quire_tokenizer_open_path(&tokenizer, path, NULL) == QUIRE_OK) {
        use(tokenizer);
        quire_tokenizer_close(tokenizer);
    }
    return 0;
}
