/* tokenizer.json, as HuggingFace `tokenizers` writes it: what decides ids is honoured, or refused by its name. */
#include "vocab_source.h"

#include <stdio.h>

#include "base/printable.h"
#include "model/json.h"

static quire_status malformed(const struct vocab *vocab, const char *field, const char *expected, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_FORMAT, "tokenizer '%s': %s is missing or malformed, expected %s", vocab->path,
                      field, expected);
}

static quire_status unsupported(const struct vocab *vocab, const char *what, const char *found, const char *expected,
                                quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "tokenizer '%s': %s %s is not supported, expected %s", vocab->path,
                      what, printable(found, strlen(found)).text, expected);
}

static bool is_absent(const json_t *value)
{
    return !value || json_is_null(value);
}

static const char *type_of(const json_t *stage)
{
    const char *type = json_string_value(json_object_get(stage, "type"));
    return type ? type : is_absent(stage) ? "null" : "without a type";
}

/* A Sequence of one is that one, an empty one is none. */
static const json_t *unwrap(const json_t *stage, const char *list_name)
{
    while (strcmp(type_of(stage), "Sequence") == 0) {
        const json_t *list = json_object_get(stage, list_name);
        if (!json_is_array(list) || json_array_size(list) > 1)
            break;
        stage = json_array_get(list, 0);
    }
    return stage;
}

/* --- the pipeline around the model -------------------------------------------------------------------------------- */

static quire_status read_normalizer(struct vocab *vocab, const json_t *root, quire_error *err)
{
    const json_t *stage = unwrap(json_object_get(root, "normalizer"), "normalizers");
    vocab->is_nfc = strcmp(type_of(stage), "NFC") == 0;
    if (!vocab->is_nfc && !is_absent(stage))
        return unsupported(vocab, "normalizer", type_of(stage), "NFC or null", err);
    return QUIRE_OK;
}

/* A flag that must have the value `expected`; where it is absent that is its value. */
static quire_status check_flag(const struct vocab *vocab, const json_t *object, const char *owner, const char *name,
                               bool expected, quire_error *err)
{
    const json_t *flag = json_object_get(object, name);
    char field[300];
    snprintf(field, sizeof field, "%.200s %s", owner, name);
    if (is_absent(flag))
        return QUIRE_OK;
    if (!json_is_boolean(flag))
        return malformed(vocab, field, "true or false", err);
    if (json_is_true(flag) != expected)
        return unsupported(vocab, field, expected ? "false" : "true", expected ? "true" : "false", err);
    return QUIRE_OK;
}

static quire_status check_pre_tokenizer(const struct vocab *vocab, const json_t *root, quire_error *err)
{
    const json_t *stage = unwrap(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    if (strcmp(type_of(stage), "ByteLevel") != 0)
        return unsupported(vocab, "pre_tokenizer", type_of(stage), "ByteLevel", err);
    quire_status status = check_flag(vocab, stage, "pre_tokenizer", "add_prefix_space", false, err);
    if (status == QUIRE_OK)
        status = check_flag(vocab, stage, "pre_tokenizer", "use_regex", true, err);
    return status;
}

/* Fine as long as it adds no token: ByteLevel (which moves offsets only), or a template of the text alone. */
static quire_status check_post_processor(const struct vocab *vocab, const json_t *stage, quire_error *err)
{
    const char *expected = "null, ByteLevel, or a TemplateProcessing that adds no token";
    const char *type = type_of(stage);
    if (is_absent(stage) || strcmp(type, "ByteLevel") == 0)
        return QUIRE_OK;
    size_t i;
    const json_t *item;
    if (strcmp(type, "Sequence") == 0) {
        quire_status status = QUIRE_OK;
        json_array_foreach(json_object_get(stage, "processors"), i, item) if (status == QUIRE_OK) status =
            check_post_processor(vocab, item, err);
        return status;
    }
    const json_t *template = json_object_get(stage, "single");
    if (strcmp(type, "TemplateProcessing") == 0 && json_array_size(template) == 1 &&
        json_object_get(json_array_get(template, 0), "Sequence"))
        return QUIRE_OK;
    return unsupported(vocab, "post_processor", type, expected, err);
}

static quire_status check_decoder(const struct vocab *vocab, const json_t *root, quire_error *err)
{
    const json_t *stage = unwrap(json_object_get(root, "decoder"), "decoders");
    if (strcmp(type_of(stage), "ByteLevel") != 0)
        return unsupported(vocab, "decoder", type_of(stage), "ByteLevel", err);
    return QUIRE_OK;
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

/* unk_token and fuse_unk are not looked at: vocab_finish makes sure that nothing is unknown. */
static quire_status check_model(const struct vocab *vocab, const json_t *model, quire_error *err)
{
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model))
        return malformed(vocab, "model", "an object", err);
    if (type && strcmp(type_of(model), "BPE") != 0) /* old files have none */
        return unsupported(vocab, "model", type_of(model), "BPE", err);
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_absent(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0.0))
        return unsupported(vocab, "model dropout", "other than 0", "null or 0", err);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof affixes / sizeof affixes[0]; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (!is_absent(affix) && !json_is_string(affix))
            return malformed(vocab, affixes[i], "null or a string", err);
        if (json_string_length(affix) > 0)
            return unsupported(vocab, affixes[i], json_string_value(affix), "null or \"\"", err);
    }
    quire_status status = check_flag(vocab, model, "model", "byte_fallback", false, err);
    if (status == QUIRE_OK)
        status = check_flag(vocab, model, "model", "ignore_merges", false, err);
    return status;
}

static quire_status read_merges(struct vocab *vocab, const json_t *merges, quire_error *err)
{
    const char *expected = "strings \"left right\" or arrays [\"left\", \"right\"]";
    quire_status status = QUIRE_OK;
    size_t i;
    const json_t *merge;
    json_array_foreach(merges, i, merge)
    {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_is_string(merge))
            status = vocab_add_merge_line(vocab, json_string_value(merge), json_string_length(merge), err);
        else if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right))
            status = vocab_add_merge(vocab, json_string_value(left), json_string_length(left), json_string_value(right),
                                     json_string_length(right), err);
        else
            status = malformed(vocab, "an element of model merges", expected, err);
        if (status != QUIRE_OK)
            break;
    }
    return status;
}

/* --- added tokens ------------------------------------------------------------------------------------------------- */

static quire_status read_added_token(struct vocab *vocab, const json_t *item, quire_error *err)
{
    const json_t *id = json_object_get(item, "id"), *content = json_object_get(item, "content");
    const json_t *special = json_object_get(item, "special"), *normalized = json_object_get(item, "normalized");
    if (!json_is_integer(id) || !json_is_string(content) || !json_is_boolean(special) || !json_is_boolean(normalized))
        return malformed(vocab, "an element of added_tokens", "an object with id, content, special and normalized",
                         err);
    const char *text = json_string_value(content);
    size_t n = json_string_length(content);
    char owner[150];
    snprintf(owner, sizeof owner, "added token '%s'", printable(text, n).text);
    quire_status status = QUIRE_OK;
    static const char *const flags[] = {"lstrip", "rstrip", "single_word"};
    for (size_t i = 0; status == QUIRE_OK && i < sizeof flags / sizeof flags[0]; i++)
        status = check_flag(vocab, item, owner, flags[i], false, err);
    if (status != QUIRE_OK)
        return status;
    uint32_t token_flags =
        TOKEN_ADDED | (json_is_true(special) ? TOKEN_SPECIAL : 0u) | (json_is_true(normalized) ? TOKEN_NORMALIZED : 0u);
    int32_t known = vocab_find(vocab, text, n);
    if (known < 0 || known != json_integer_value(id))
        return vocab_add_token(vocab, json_integer_value(id), text, n, token_flags, err);
    vocab->tokens[known].flags |= token_flags;
    return QUIRE_OK;
}

static quire_status read_tokens(struct vocab *vocab, const json_t *root, quire_error *err)
{
    const json_t *model = json_object_get(root, "model");
    json_t *tokens = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges"), *added = json_object_get(root, "added_tokens");
    if (!json_is_object(tokens))
        return malformed(vocab, "model vocab", "an object of tokens and their ids", err);
    if (!json_is_array(merges))
        return malformed(vocab, "model merges", "an array", err);
    if (!is_absent(added) && !json_is_array(added))
        return malformed(vocab, "added_tokens", "an array", err);
    quire_status status =
        vocab_reserve(vocab, json_object_size(tokens) + json_array_size(added), json_array_size(merges), err);
    const char *spelling;
    json_t *id;
    json_object_foreach(tokens, spelling, id)
    {
        if (status == QUIRE_OK && !json_is_integer(id))
            status = malformed(vocab, "an id in model vocab", "an integer", err);
        if (status == QUIRE_OK)
            status = vocab_add_token(vocab, json_integer_value(id), spelling, strlen(spelling), 0, err);
    }
    if (status == QUIRE_OK)
        status = read_merges(vocab, merges, err);
    size_t i;
    const json_t *item;
    json_array_foreach(added, i, item) if (status == QUIRE_OK) status = read_added_token(vocab, item, err);
    return status;
}

quire_status vocab_read_json(struct vocab *vocab, const char *text, size_t n, quire_error *err)
{
    json_t *root = NULL;
    quire_status status = json_object_parse(&root, text, n, vocab->path, err);
    if (status == QUIRE_OK)
        status = check_model(vocab, json_object_get(root, "model"), err);
    if (status == QUIRE_OK)
        status = read_normalizer(vocab, root, err);
    if (status == QUIRE_OK)
        status = check_pre_tokenizer(vocab, root, err);
    if (status == QUIRE_OK)
        status = check_post_processor(vocab, json_object_get(root, "post_processor"), err);
    if (status == QUIRE_OK)
        status = check_decoder(vocab, root, err);
    if (status == QUIRE_OK)
        status = read_tokens(vocab, root, err);
    if (status == QUIRE_OK)
        status = vocab_finish(vocab, err);
    json_decref(root);
    return status;
}
