/* Decoding: the bytes of the tokens, cut where characters end. */
#include "tokenizer_private.h"

#include "base/utf8.h"
#include "pieces.h"

struct quire_decoder {
    const struct quire_tokenizer *tokenizer;
    bool keep_special;
    bool is_at_start;   /* of a text whose first space the encoder may have put there */
    struct buffer held; /* the start of a character (fewer than UTF8_MAX bytes) and, during a call, what follows it */
    struct buffer out;
};

quire_status quire_decoder_open(quire_decoder **out, const quire_tokenizer *tokenizer, bool keep_special,
                                quire_error *err)
{
    struct quire_decoder *decoder = mem_calloc(1, sizeof *decoder, "a decoder", err);
    if (!decoder)
        return QUIRE_ERR_NO_MEMORY;
    decoder->tokenizer = tokenizer;
    decoder->keep_special = keep_special;
    decoder->is_at_start = true;
    *out = decoder;
    return QUIRE_OK;
}

void quire_decoder_close(quire_decoder *decoder)
{
    if (!decoder)
        return;
    buffer_release(&decoder->held);
    buffer_release(&decoder->out);
    free(decoder);
}

/* How much of a token's start goes: the space before the text that the encoder puts there (or, where it takes spaces
 * away at the ends, every space that would stand there) is not the text's. */
static size_t space_at_start(quire_decoder *decoder, const struct token *token, size_t n_bytes)
{
    const struct vocab *vocab = &decoder->tokenizer->vocab;
    const struct pieces *pieces = vocab->pieces;
    if (!pieces || n_bytes == 0 || !decoder->is_at_start)
        return 0;
    bool is_spelt = token->n_spelling >= PIECE_SPACE_BYTES &&
                    memcmp(token_spelling(vocab, token), PIECE_SPACE, PIECE_SPACE_BYTES) == 0;
    size_t n_skipped = is_spelt && (pieces->adds_prefix || pieces->squeezes);
    decoder->is_at_start = pieces->squeezes && n_bytes == n_skipped;
    return n_skipped;
}

quire_status quire_decoder_feed(quire_decoder *decoder, int32_t id, const char **bytes, size_t *n_bytes,
                                quire_error *err)
{
    const struct vocab *vocab = &decoder->tokenizer->vocab;
    const struct token *token = vocab_token(vocab, id);
    if (!token)
        return quire_fail(err, QUIRE_ERR_USAGE, "the vocabulary has no token with the id %d", id);
    size_t n_more = (token->flags & TOKEN_SPECIAL) && !decoder->keep_special ? 0 : token->n_bytes;
    size_t n_skipped = space_at_start(decoder, token, n_more);
    n_more -= n_skipped;
    quire_status status = buffer_reserve(&decoder->held, n_more + 1, err); /* + 1: never NULL */
    decoder->out.n = 0;
    if (status == QUIRE_OK)
        status = buffer_reserve(&decoder->out, UTF8_REPLACEMENT_BYTES * (decoder->held.n + n_more + 1), err);
    if (status == QUIRE_OK)
        status = buffer_append(&decoder->held, token_bytes(vocab, token) + n_skipped, n_more, err);
    if (status != QUIRE_OK)
        return status;
    struct utf8_copy copy = utf8_copy_lossy(decoder->out.bytes, decoder->held.bytes, decoder->held.n);
    decoder->held.n -= copy.n_taken;
    memmove(decoder->held.bytes, decoder->held.bytes + copy.n_taken, decoder->held.n);
    *bytes = (const char *)decoder->out.bytes;
    *n_bytes = copy.n_out;
    return QUIRE_OK;
}

quire_status quire_decoder_finish(quire_decoder *decoder, const char **bytes, size_t *n_bytes, quire_error *err)
{
    (void)err;
    *bytes = UTF8_REPLACEMENT;
    *n_bytes = decoder->held.n > 0 ? UTF8_REPLACEMENT_BYTES : 0;
    decoder->held.n = 0;
    decoder->is_at_start = true;
    return QUIRE_OK;
}
