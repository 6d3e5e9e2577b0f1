/* The tokenizer: UTF-8 text to token ids and back; byte-level BPE of the GPT-NeoX kind, or SentencePiece's unigram
 * kind.
 *
 * Ids are exactly those of HuggingFace `tokenizers` for the same tokenizer.json (NFC, the pre-tokenizer pattern,
 * merges, added tokens) or of SentencePiece for the same spiece.model. A tokenizer is immutable and may be shared;
 * encoders and decoders hold one text's state each.
 */
#ifndef QUIRE_TOKENIZER_H
#define QUIRE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quire_tokenizer quire_tokenizer;
typedef struct quire_encoder quire_encoder;
typedef struct quire_decoder quire_decoder;

/* The tokenizer that came with a model (the folder's tokenizer.json or spiece.model, or the GGUF's vocabulary). The
 * tokenizer keeps nothing of the model. Errors: FORMAT, UNSUPPORTED (a normaliser, pre-tokenizer or model that is not
 * this family's, named), MISMATCH (more tokens than the model has embedding rows), IO, NO_MEMORY. */
QUIRE_API quire_status quire_tokenizer_open(quire_tokenizer **out, const quire_model *model, quire_error *err);

/* From a file or folder alone: a tokenizer.json, a SentencePiece model (named *.model), a GGUF (tensors are not looked
 * at), or a folder with a tokenizer.json, spiece.model or tokenizer.model: the first of these that is there. */
QUIRE_API quire_status quire_tokenizer_open_path(quire_tokenizer **out, const char *path, quire_error *err);

QUIRE_API void quire_tokenizer_close(quire_tokenizer *tokenizer);

/* One more than the largest id that has a token. */
QUIRE_API uint32_t quire_tokenizer_n_tokens(const quire_tokenizer *tokenizer);

/* The id of the token written exactly so ("<|endoftext|>"), or -1. */
QUIRE_API int32_t quire_tokenizer_find(const quire_tokenizer *tokenizer, const char *text);

/* The end-of-text id, or -1 where the vocabulary has none. */
QUIRE_API int32_t quire_tokenizer_end_of_text(const quire_tokenizer *tokenizer);

/* Whether id is a special (control) token: never produced from document text by default, and decoded to nothing
 * unless the decoder keeps them. */
QUIRE_API bool quire_tokenizer_is_special(const quire_tokenizer *tokenizer, int32_t id);

/* The bytes that id decodes to (special tokens: their name). *bytes lives as long as the tokenizer and is not
 * NUL-terminated. Returns false where id has no token. */
QUIRE_API bool quire_tokenizer_bytes(const quire_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *n_bytes);

/* 128 bits in hexadecimal over all that decides ids; two tokenizers with the same value give the same ids. */
QUIRE_API const char *quire_tokenizer_fingerprint(const quire_tokenizer *tokenizer);

/* --- encoding ------------------------------------------------------------------------------------------------- */

/* A stretch of ids. Valid until the next call on the encoder that gave it. */
typedef struct quire_ids {
    const int32_t *ids;
    size_t n_ids;
} quire_ids;

/* parse_special: whether text that spells a special token becomes that token. Off for documents: what a book says is
 * never a command to the model. */
QUIRE_API quire_status quire_encoder_open(quire_encoder **out, const quire_tokenizer *tokenizer, bool parse_special,
                                          quire_error *err);
QUIRE_API void quire_encoder_close(quire_encoder *encoder);

/* Feeds the next n bytes of valid UTF-8 (a character may be split between calls) and gives the ids that no later byte
 * can change. Feeding a text in any pieces gives, put together, the ids of the whole.
 * Errors: TEXT (invalid UTF-8, with its byte offset from the first byte fed), NO_MEMORY; after an error the encoder has
 * forgotten this text and is ready for another one. */
QUIRE_API quire_status quire_encoder_feed(quire_encoder *encoder, const char *bytes, size_t n, quire_ids *out,
                                          quire_error *err);

/* Ends the text: gives the remaining ids and makes the encoder ready for another one. */
QUIRE_API quire_status quire_encoder_finish(quire_encoder *encoder, quire_ids *out, quire_error *err);

/* A whole text at once; *ids is malloc'ed, the caller frees it. */
QUIRE_API quire_status quire_encode(const quire_tokenizer *tokenizer, const char *bytes, size_t n, bool parse_special,
                                    int32_t **ids, size_t *n_ids, quire_error *err);

/* --- decoding ------------------------------------------------------------------------------------------------- */

/* keep_special: whether special tokens appear by name or not at all. */
QUIRE_API quire_status quire_decoder_open(quire_decoder **out, const quire_tokenizer *tokenizer, bool keep_special,
                                          quire_error *err);
QUIRE_API void quire_decoder_close(quire_decoder *decoder);

/* The text that id completes: zero or more whole UTF-8 characters, never half of one. Bytes that no later token can
 * make valid come out as U+FFFD. *bytes is valid until the next call. Errors: USAGE (no such id). */
QUIRE_API quire_status quire_decoder_feed(quire_decoder *decoder, int32_t id, const char **bytes, size_t *n_bytes,
                                          quire_error *err);

/* What is left: an unfinished character becomes U+FFFD. The decoder is then ready for another text. */
QUIRE_API quire_status quire_decoder_finish(quire_decoder *decoder, const char **bytes, size_t *n_bytes,
                                            quire_error *err);

#ifdef __cplusplus
}
#endif
#endif
