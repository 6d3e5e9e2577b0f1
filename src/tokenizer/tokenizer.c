/* Opening: the vocabulary from its file, the searches for added tokens, the fingerprint. */
#include "tokenizer_private.h"

#include <stdio.h>

#include "base/sys.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/source.h"
#include "nfc.h"
#include "pieces.h"
#include "special_ids.h"
#include "unicode.h"
#include "vocab_source.h"

#define MAX_JSON_BYTES   ((size_t)64 << 20)
#define MAX_SPIECE_BYTES ((size_t)64 << 20)
#define END_OF_TEXT      "<|endoftext|>"

/* --- added tokens ------------------------------------------------------------------------------------------------- */

static quire_status keep_text(void *context, const uint8_t *text, size_t n, quire_error *err)
{
    return buffer_append(context, text, n, err);
}

/* An added token that is matched behind the normaliser is normalised itself. */
static quire_status searched_text(const struct quire_tokenizer *tokenizer, const struct token *token,
                                  struct buffer *out, quire_error *err)
{
    const uint8_t *text = token_bytes(&tokenizer->vocab, token);
    if (!tokenizer->vocab.is_nfc || !(token->flags & TOKEN_NORMALIZED))
        return buffer_append(out, text, token->n_bytes, err);
    struct nfc nfc;
    struct sink sink = {.context = out, .text = keep_text};
    nfc_init(&nfc, tokenizer->unicode);
    quire_status status = nfc_feed(&nfc, text, token->n_bytes, &sink, err);
    if (status == QUIRE_OK)
        status = nfc_finish(&nfc, &sink, err);
    nfc_release(&nfc);
    return status;
}

static quire_status add_searches(struct quire_tokenizer *tokenizer, int32_t id, quire_error *err)
{
    const struct token *token = &tokenizer->vocab.tokens[id];
    enum added_stage stage = token->flags & TOKEN_NORMALIZED ? ADDED_NORMALIZED : ADDED_RAW;
    struct buffer text = {0};
    quire_status status = searched_text(tokenizer, token, &text, err);
    if (status == QUIRE_OK && text.n > ADDED_MAX_BYTES)
        status = quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                            "tokenizer '%s': the added token %d has %zu bytes, this build takes %d at most",
                            tokenizer->vocab.path, id, text.n, ADDED_MAX_BYTES);
    if (status == QUIRE_OK)
        status = added_insert(&tokenizer->added[1][stage], text.bytes, text.n, id, err);
    if (status == QUIRE_OK && !(token->flags & TOKEN_SPECIAL))
        status = added_insert(&tokenizer->added[0][stage], text.bytes, text.n, id, err);
    buffer_release(&text);
    return status;
}

/* --- the fingerprint ---------------------------------------------------------------------------------------------- */

static void hash_token(hash_state *state, const struct vocab *vocab, uint32_t id)
{
    const struct token *token = &vocab->tokens[id];
    if (!(token->flags & TOKEN_EXISTS))
        return;
    uint32_t head[3] = {id, token->flags, token->n_spelling};
    hash_add(state, head, sizeof head);
    hash_add(state, token_spelling(vocab, token), token->n_spelling);
}

static void hash_pieces(hash_state *state, const struct pieces *pieces)
{
    const uint8_t settings[] = {pieces->adds_prefix, pieces->squeezes, pieces->escapes};
    hash_add_text(state, "unigram");
    hash_add(state, settings, sizeof settings);
    hash_add(state, pieces->types, pieces->n_scores);
    hash_add(state, pieces->scores, pieces->n_scores * sizeof *pieces->scores);
}

/* In the order of ids and ranks, so that it does not matter where the vocabulary was read from. The version of Unicode
 * counts: it decides what a letter is. */
static quire_status make_fingerprint(struct quire_tokenizer *tokenizer, quire_error *err)
{
    const struct vocab *vocab = &tokenizer->vocab;
    uint64_t *by_rank = vocab_merges_by_rank(vocab, err);
    hash_state *state = hash_open();
    if (!by_rank || !state) {
        free(by_rank);
        hash_close(state);
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for the tokenizer's fingerprint");
    }
    hash_add_text(state, unicode_version());
    hash_add_text(state, vocab->is_nfc ? "nfc" : "as it is");
    for (uint32_t id = 0; id < vocab->n_tokens; id++)
        hash_token(state, vocab, id);
    hash_add(state, by_rank, vocab->n_merges * sizeof *by_rank);
    if (vocab->pieces)
        hash_pieces(state, vocab->pieces);
    hash_finish_hex(state, tokenizer->fingerprint);
    hash_close(state);
    free(by_rank);
    return QUIRE_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* What follows from the vocabulary. */
static quire_status finish(struct quire_tokenizer *tokenizer, quire_error *err)
{
    struct vocab *vocab = &tokenizer->vocab;
    int32_t end_of_text = vocab_find(vocab, END_OF_TEXT, strlen(END_OF_TEXT));
    if (end_of_text < 0 && vocab_token(vocab, vocab->end_of_text))
        end_of_text = (int32_t)vocab->end_of_text;
    tokenizer->end_of_text = quire_tokenizer_is_special(tokenizer, end_of_text) ? end_of_text : -1;
    quire_status status = QUIRE_OK;
    if (!vocab->pieces) { /* what they are cut into does not depend on what a letter is */
        tokenizer->unicode = unicode_table_make(err);
        status = tokenizer->unicode ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    }
    for (size_t id = 0; status == QUIRE_OK && id < vocab->n_tokens; id++)
        if (vocab->tokens[id].flags & TOKEN_ADDED)
            status = add_searches(tokenizer, (int32_t)id, err);
    if (status == QUIRE_OK)
        status = make_fingerprint(tokenizer, err);
    return status;
}

/* Where a vocabulary stands: in a GGUF, or in the bytes of a file of its own. path is for messages. */
struct source {
    const char *path;
    const struct gguf *gguf;
    const char *bytes;
    size_t n_bytes;
    bool is_spiece; /* not a tokenizer.json */
};

static quire_status fill(struct vocab *vocab, const struct source *source, quire_error *err)
{
    if (source->gguf)
        return vocab_read_gguf(vocab, source->gguf, err);
    if (source->is_spiece)
        return vocab_read_spiece(vocab, (const unsigned char *)source->bytes, source->n_bytes, err);
    return vocab_read_json(vocab, source->bytes, source->n_bytes, err);
}

static quire_status open_source(struct quire_tokenizer **out, const struct source *source, quire_error *err)
{
    struct quire_tokenizer *tokenizer = mem_calloc(1, sizeof *tokenizer, "a tokenizer", err);
    if (!tokenizer)
        return QUIRE_ERR_NO_MEMORY;
    tokenizer->vocab.path = source->path;
    tokenizer->vocab.end_of_text = -1;
    quire_status status = fill(&tokenizer->vocab, source, err);
    if (status == QUIRE_OK)
        status = finish(tokenizer, err);
    tokenizer->vocab.path = NULL; /* the caller's, and not needed again */
    if (status == QUIRE_OK)
        *out = tokenizer;
    else
        quire_tokenizer_close(tokenizer);
    return status;
}

/* Beside a tokenizer.json it may be said which special token ends a text; it may have any name. What cannot be read
 * there says nothing. */
static void find_end_of_text(struct quire_tokenizer *tokenizer, const char *folder)
{
    struct special_ids ids = {-1, -1, -1, -1};
    if (tokenizer->end_of_text < 0 && special_ids_read(&ids, folder, tokenizer, NULL) == QUIRE_OK &&
        quire_tokenizer_is_special(tokenizer, ids.end))
        tokenizer->end_of_text = ids.end;
}

/* A SentencePiece model is known by its name: the first bytes of one may be those of a JSON text. */
static quire_status open_file(struct quire_tokenizer **out, const char *path, quire_error *err)
{
    static const char suffix[] = ".model";
    size_t n_path = strlen(path), n_suffix = strlen(suffix);
    char *text = NULL;
    struct source source = {.path = path,
                            .is_spiece = n_path >= n_suffix && strcmp(path + n_path - n_suffix, suffix) == 0};
    quire_status status =
        sys_read_file(&text, &source.n_bytes, path, source.is_spiece ? MAX_SPIECE_BYTES : MAX_JSON_BYTES, err);
    source.bytes = text;
    if (status == QUIRE_OK)
        status = open_source(out, &source, err);
    free(text);
    return status;
}

static quire_status open_of_folder(struct quire_tokenizer **out, const char *folder, const char *file, quire_error *err)
{
    quire_status status = open_file(out, file, err);
    if (status == QUIRE_OK)
        find_end_of_text(*out, folder);
    return status;
}

static quire_status open_folder(struct quire_tokenizer **out, const char *path, quire_error *err)
{
    char *file = NULL;
    quire_status status = source_find_tokenizer(&file, path, err);
    if (status == QUIRE_OK)
        status = open_of_folder(out, path, file, err);
    free(file);
    return status;
}

static quire_status open_gguf(struct quire_tokenizer **out, const char *path, quire_error *err)
{
    struct gguf *gguf = NULL;
    quire_status status = gguf_open(&gguf, path, err);
    if (status == QUIRE_OK)
        status = open_source(out, &(struct source){.path = path, .gguf = gguf}, err);
    gguf_close(gguf);
    return status;
}

/* Whether a file starts as a GGUF does. Of one that cannot be read reading it will say why. */
static bool is_gguf(const char *path)
{
    struct stat st;
    char magic[4];
    int fd;
    if (sys_open_file(&fd, &st, path, NULL) != QUIRE_OK)
        return false;
    bool is = sys.pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    sys.close(fd);
    return is;
}

quire_status quire_tokenizer_open_path(quire_tokenizer **out, const char *path, quire_error *err)
{
    if (sys_is_folder(path))
        return open_folder(out, path, err);
    return is_gguf(path) ? open_gguf(out, path, err) : open_file(out, path, err);
}

quire_status quire_tokenizer_open(quire_tokenizer **out, const quire_model *model, quire_error *err)
{
    const struct gguf *gguf = model_gguf(model);
    quire_tokenizer *tokenizer = NULL;
    const char *path = quire_model_path(model);
    quire_status status = gguf ? open_source(&tokenizer, &(struct source){.path = path, .gguf = gguf}, err)
                               : open_of_folder(&tokenizer, path, model_tokenizer_path(model), err);
    if (status != QUIRE_OK)
        return status;
    uint32_t n_tokens = quire_tokenizer_n_tokens(tokenizer), n_rows = quire_model_config(model)->vocab_size;
    if (n_tokens > n_rows) {
        quire_tokenizer_close(tokenizer);
        return quire_fail(
            err, QUIRE_ERR_MISMATCH,
            "the tokenizer of '%s' has %u tokens, more than the model's %u embedding rows; they do not belong together",
            quire_model_path(model), n_tokens, n_rows);
    }
    *out = tokenizer;
    return QUIRE_OK;
}

void quire_tokenizer_close(quire_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    vocab_release(&tokenizer->vocab);
    for (size_t i = 0; i < 2; i++)
        for (size_t stage = 0; stage < ADDED_N_STAGES; stage++)
            added_release(&tokenizer->added[i][stage]);
    free(tokenizer->unicode);
    free(tokenizer);
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

uint32_t quire_tokenizer_n_tokens(const quire_tokenizer *tokenizer)
{
    return (uint32_t)tokenizer->vocab.n_tokens;
}

int32_t quire_tokenizer_find(const quire_tokenizer *tokenizer, const char *text)
{
    return vocab_find(&tokenizer->vocab, text, strlen(text));
}

int32_t quire_tokenizer_end_of_text(const quire_tokenizer *tokenizer)
{
    return tokenizer->end_of_text;
}

bool quire_tokenizer_is_special(const quire_tokenizer *tokenizer, int32_t id)
{
    const struct token *token = vocab_token(&tokenizer->vocab, id);
    return token && (token->flags & TOKEN_SPECIAL);
}

bool quire_tokenizer_bytes(const quire_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *n_bytes)
{
    const struct token *token = vocab_token(&tokenizer->vocab, id);
    if (!token)
        return false;
    *bytes = (const char *)token_bytes(&tokenizer->vocab, token);
    *n_bytes = token->n_bytes;
    return true;
}

const char *quire_tokenizer_fingerprint(const quire_tokenizer *tokenizer)
{
    return tokenizer->fingerprint;
}
