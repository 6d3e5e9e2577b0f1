/* A training run's configuration. */
#include "fuzz.h"
#include "train/train_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct train_config config;
    if (train_config_parse(&config, NULL, (const char *)data, size, "config", NULL) == QUIRE_OK) {
        json_decref(train_config_json(&config));
        train_config_release(&config);
    }
    return 0;
}
