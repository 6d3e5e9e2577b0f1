/* Text that goes through the tokenizer and back must be the same: the text, in the tokenizer's normal form. A
 * SentencePiece vocabulary without bytes loses what no piece spells, which is its nature and no damage. */
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/nfc.h"
#include "tokenizer/pieces.h"
#include "tokenizer/tokenizer_private.h"
#include "verify_job.h"

enum { MOST_TOLD = 10 };

static const char sample[] =
    "The keeper wrote: \"It's 4 \xC2\xBD months,\" and  two   spaces, a\ttab,\r\n\r\nthen F\xC3\xBChrer, "
    "\xD0\xBD\xD0\xB5\xD1\x89\xD0\xBE \xD0\xBD\xD0\xB0, \xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8 apple, "
    "\xE1\x9E\x80\xE1\x9E\xB6\xE1\x9E\x93, e\xCC\x81, \xF0\x9F\x9A\x80\xF0\x9F\x98\xB6\xE2\x80\x8D, 333333; we'll "
    "see.\n";

struct round_trip {
    const quire_tokenizer *tokenizer;
    quire_encoder *plain, *special; /* without and with special tokens in the text */
    quire_decoder *decoder;
    struct buffer normal, back;
    bool is_lossy; /* the last text had something that no piece spells */
    struct nfc nfc;
};

static quire_status keep(void *context, const uint8_t *text, size_t n, quire_error *err)
{
    return buffer_append(context, text, n, err);
}

/* Spaces at the ends go, and all but one of a run. */
static quire_status squeeze(struct buffer *out, const char *text, size_t n, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < n && status == QUIRE_OK; i++)
        if (text[i] != ' ' || (out->n > 0 && out->bytes[out->n - 1] != ' '))
            status = buffer_append(out, &text[i], 1, err);
    if (out->n > 0 && out->bytes[out->n - 1] == ' ')
        out->n--;
    return status;
}

/* trip->normal: the text as the tokenizer sees it. */
static quire_status normalise(struct round_trip *trip, const void *text, size_t n, quire_error *err)
{
    const struct pieces *pieces = trip->tokenizer->vocab.pieces;
    trip->normal.n = 0;
    if (pieces && pieces->squeezes)
        return squeeze(&trip->normal, text, n, err);
    if (!trip->tokenizer->vocab.is_nfc)
        return buffer_append(&trip->normal, text, n, err);
    struct sink sink = {.context = &trip->normal, .text = keep};
    quire_status status = nfc_feed(&trip->nfc, text, n, &sink, err);
    return status == QUIRE_OK ? nfc_finish(&trip->nfc, &sink, err) : status;
}

static quire_status decode(struct round_trip *trip, quire_ids ids, quire_error *err)
{
    quire_status status = QUIRE_OK;
    const char *bytes;
    size_t n;
    for (size_t i = 0; i < ids.n_ids && status == QUIRE_OK; i++) {
        status = quire_decoder_feed(trip->decoder, ids.ids[i], &bytes, &n, err);
        if (status == QUIRE_OK)
            status = buffer_append(&trip->back, bytes, n, err);
    }
    return status;
}

static bool is_unknown(const struct round_trip *trip, int32_t id)
{
    const struct pieces *pieces = trip->tokenizer->vocab.pieces;
    return pieces && id == pieces->unknown;
}

/* trip->back: what the text is after encoding and decoding. *is_one: it is this one id. */
static quire_status go(struct round_trip *trip, quire_encoder *encoder, const char *text, size_t n, int32_t id,
                       bool *is_one, quire_error *err)
{
    quire_ids ids;
    const char *bytes;
    size_t n_bytes, n_ids = 0;
    trip->back.n = 0;
    trip->is_lossy = false;
    *is_one = true;
    quire_status status = quire_encoder_feed(encoder, text, n, &ids, err);
    for (int part = 0; part < 2 && status == QUIRE_OK; part++) {
        for (size_t i = 0; i < ids.n_ids; i++) {
            *is_one = *is_one && ids.ids[i] == id;
            trip->is_lossy = trip->is_lossy || is_unknown(trip, ids.ids[i]);
        }
        n_ids += ids.n_ids;
        status = decode(trip, ids, err);
        if (part == 0 && status == QUIRE_OK)
            status = quire_encoder_finish(encoder, &ids, err);
    }
    *is_one = *is_one && n_ids == 1;
    if (status == QUIRE_OK)
        status = quire_decoder_finish(trip->decoder, &bytes, &n_bytes, err);
    return status == QUIRE_OK ? buffer_append(&trip->back, bytes, n_bytes, err) : status;
}

static bool is_back(const struct round_trip *trip, const void *text, size_t n)
{
    return n == trip->back.n && (n == 0 || memcmp(text, trip->back.bytes, n) == 0);
}

/* Special tokens come back as themselves where they are asked for; the text of any other comes back as that text, in
 * its normal form unless it was an added token that is written in another. Part of a character is no text. */
static quire_status check_token(struct round_trip *trip, int32_t id, bool *is_sound, quire_error *err)
{
    const char *bytes;
    size_t n;
    bool is_one;
    *is_sound = true;
    if (!quire_tokenizer_bytes(trip->tokenizer, id, &bytes, &n) || utf8_scan((const uint8_t *)bytes, n).n_valid < n)
        return QUIRE_OK;
    bool is_special = quire_tokenizer_is_special(trip->tokenizer, id);
    quire_status status = go(trip, is_special ? trip->special : trip->plain, bytes, n, id, &is_one, err);
    if (status == QUIRE_OK && !is_special)
        status = normalise(trip, bytes, n, err);
    if (status == QUIRE_OK)
        *is_sound = is_special ? is_one
                               : trip->is_lossy || is_back(trip, trip->normal.bytes, trip->normal.n) ||
                                     (is_one && is_back(trip, bytes, n));
    return status;
}

static quire_status check_sample(struct verify_job *job, struct round_trip *trip, quire_error *err)
{
    bool is_one;
    quire_status status = go(trip, trip->plain, sample, sizeof sample - 1, -1, &is_one, err);
    if (status == QUIRE_OK)
        status = normalise(trip, sample, sizeof sample - 1, err);
    if (status == QUIRE_OK && trip->is_lossy)
        verify_found(job, QUIRE_FINDING_TOKENIZER, false, NULL,
                     "the vocabulary has no bytes: characters that no piece spells are lost");
    else if (status == QUIRE_OK && !is_back(trip, trip->normal.bytes, trip->normal.n))
        verify_found(job, QUIRE_FINDING_TOKENIZER, true, NULL,
                     "a sample of many scripts is another text after encoding and decoding");
    return status;
}

static quire_status check_all(struct verify_job *job, struct round_trip *trip, quire_error *err)
{
    uint32_t n_tokens = quire_tokenizer_n_tokens(trip->tokenizer), n_bad = 0;
    quire_status status = QUIRE_OK;
    bool is_sound;
    for (uint32_t id = 0; id < n_tokens && status == QUIRE_OK; id++) {
        status = check_token(trip, (int32_t)id, &is_sound, err);
        if (status == QUIRE_OK && !is_sound && n_bad++ < MOST_TOLD)
            verify_found(job, QUIRE_FINDING_TOKENIZER, true, NULL,
                         "the text of token %u is another one after encoding and decoding", id);
    }
    if (n_bad > MOST_TOLD)
        verify_found(job, QUIRE_FINDING_TOKENIZER, true, NULL, "so is that of %u more tokens", n_bad - MOST_TOLD);
    return status == QUIRE_OK ? check_sample(job, trip, err) : status;
}

quire_status verify_tokenizer(struct verify_job *job, const quire_tokenizer *tokenizer, uint32_t n_rows,
                              quire_error *err)
{
    struct round_trip trip = {.tokenizer = tokenizer};
    uint32_t n_tokens = quire_tokenizer_n_tokens(tokenizer);
    if (n_rows > n_tokens)
        verify_found(job, QUIRE_FINDING_TOKENIZER, false, NULL,
                     "the embedding has %u rows beyond the vocabulary's %u tokens: padding, which is never sampled",
                     n_rows - n_tokens, n_tokens);
    nfc_init(&trip.nfc, tokenizer->unicode);
    quire_status status = quire_encoder_open(&trip.plain, tokenizer, false, err);
    if (status == QUIRE_OK)
        status = quire_encoder_open(&trip.special, tokenizer, true, err);
    if (status == QUIRE_OK)
        status = quire_decoder_open(&trip.decoder, tokenizer, true, err);
    if (status == QUIRE_OK)
        status = check_all(job, &trip, err);
    quire_encoder_close(trip.plain);
    quire_encoder_close(trip.special);
    quire_decoder_close(trip.decoder);
    nfc_release(&trip.nfc);
    buffer_release(&trip.normal);
    buffer_release(&trip.back);
    return status;
}
