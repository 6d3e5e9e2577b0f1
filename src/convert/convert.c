/* A model that was opened as what the writer takes. */
#include "quire/convert.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "model_writer.h"
#include "tokenizer/tokenizer_private.h"

quire_convert_options quire_convert_defaults(void)
{
    return (quire_convert_options){0};
}

static bool has_tokenizer(const quire_model *model)
{
    return strcmp(model->tokenizer_fingerprint, "none") != 0;
}

static quire_status refuse_pieces(const quire_model *model, quire_error *err)
{
    bool is_gguf = model_gguf(model) != NULL;
    return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                      "'%s' has a SentencePiece vocabulary, which is kept as it is and not written in another format; "
                      "convert to a %s, with an output whose name %s in .gguf",
                      quire_model_path(model), is_gguf ? "GGUF" : "folder", is_gguf ? "ends" : "does not end");
}

/* Where the format stays, a tokenizer of a kind that this build cannot use, or not write, passes through as it is;
 * where it changes it must be understood. */
static quire_status open_tokenizer(quire_tokenizer **out, const quire_model *model, bool keeps_format, quire_error *err)
{
    quire_error why = {0};
    *out = NULL;
    if (!has_tokenizer(model))
        return QUIRE_OK;
    quire_status status = quire_tokenizer_open(out, model, &why);
    if (status == QUIRE_OK && (*out)->vocab.pieces) {
        quire_tokenizer_close(*out);
        *out = NULL;
        return keeps_format ? QUIRE_OK : refuse_pieces(model, err);
    }
    if (status == QUIRE_OK || (status == QUIRE_ERR_UNSUPPORTED && keeps_format))
        return QUIRE_OK;
    return quire_fail(err, status, "%s", why.message);
}

static quire_status convert(const quire_model *model, const quire_tokenizer *tokenizer, const char *path,
                            const quire_convert_options *options, quire_error *err)
{
    struct about about;
    struct weight *weights = NULL;
    struct weight_data *data = NULL;
    size_t n = 0;
    quire_status status = about_of_model(&about, model, tokenizer, err);
    if (status != QUIRE_OK)
        return status;
    status = weights_list_of(&weights, &n, model, err);
    if (status == QUIRE_OK) {
        data = mem_calloc(n, sizeof *data, "a list of tensors", err);
        status = data ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < n && status == QUIRE_OK; i++)
        data[i] = (struct weight_data){weights[i].tensor->type, weights[i].tensor->data};
    if (status == QUIRE_OK) {
        struct model_content content = {.config = &model->config,
                                        .weights = weights,
                                        .data = data,
                                        .n_weights = n,
                                        .about = &about,
                                        .tokenizer = tokenizer,
                                        .model = model};
        status = model_writer_write(&content, path, options, err);
    }
    free(weights);
    free(data);
    about_release(&about);
    return status;
}

quire_status quire_convert(const quire_model *model, const char *path, const quire_convert_options *options,
                           quire_error *err)
{
    quire_convert_options defaults = quire_convert_defaults();
    quire_tokenizer *tokenizer = NULL;
    if (!path || !*path)
        return quire_fail(err, QUIRE_ERR_USAGE, "a model that is written needs a path");
    bool keeps_format = model_writer_makes_gguf(path) == (model_gguf(model) != NULL);
    quire_status status = open_tokenizer(&tokenizer, model, keeps_format, err);
    options = options ? options : &defaults;
    if (status == QUIRE_OK && !tokenizer && !has_tokenizer(model) && options->notice)
        options->notice(options->user, "the model has no tokenizer, so that other programs cannot use it as it is");
    if (status == QUIRE_OK)
        status = convert(model, tokenizer, path, options, err);
    quire_tokenizer_close(tokenizer);
    return status;
}
