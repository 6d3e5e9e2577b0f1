/* The table of keys, for help. */
#include <stdio.h>
#include <string.h>

#include "quire/train.h"
#include "train_config.h"

static void describe_range(char *text, size_t size, const struct train_config_row *row)
{
    switch (row->kind) {
    case CONFIG_COUNT:
    case CONFIG_COUNT64: snprintf(text, size, "%.0f to %.0f", row->least, row->most); break;
    case CONFIG_NUMBER: snprintf(text, size, "%g to %g", row->least, row->most); break;
    case CONFIG_PAIR: snprintf(text, size, "two numbers, %g to %g", row->least, row->most); break;
    case CONFIG_FLAG: snprintf(text, size, "true or false"); break;
    case CONFIG_TEXT: snprintf(text, size, "a text"); break;
    case CONFIG_DURATION: snprintf(text, size, "batches or tokens%s", row->least > 0 ? "" : ", 0ba: never"); break;
    case CONFIG_CHOICE:
        text[0] = '\0';
        for (size_t i = 0; row->choices[i]; i++) {
            size_t n = strlen(text);
            snprintf(text + n, size - n, "%s%s", i > 0 ? ", " : "", row->choices[i]);
        }
        break;
    }
}

bool quire_training_key_at(size_t index, quire_training_key *key)
{
    if (index >= n_train_config_rows)
        return false;
    const struct train_config_row *row = &train_config_rows[index];
    *key = (quire_training_key){
        .name = row->key, .standard = row->shown_default, .null_is = row->null_is, .may_change = row->may_change};
    describe_range(key->range, sizeof key->range, row);
    return true;
}
