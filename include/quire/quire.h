/* Quire: a long-context document processor for MPT language models. This header includes all the others. */
#ifndef QUIRE_H
#define QUIRE_H

#include "convert.h"
#include "draft.h"
#include "dtype.h"
#include "engine.h"
#include "error.h"
#include "kv_type.h"
#include "model.h"
#include "peaks.h"
#include "prompt.h"
#include "reader.h"
#include "sampler.h"
#include "shards.h"
#include "stop.h"
#include "store.h"
#include "tokenizer.h"
#include "train.h"
#include "verify.h"

#define QUIRE_VERSION_MAJOR 0
#define QUIRE_VERSION_MINOR 1
#define QUIRE_VERSION_PATCH 0
#define QUIRE_VERSION       "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is linked, as QUIRE_VERSION is of the headers. */
QUIRE_API const char *quire_version(void);

#ifdef __cplusplus
}
#endif
#endif
