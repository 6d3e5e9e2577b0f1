/* What the measuring of peaks shares. */
#ifndef QUIRE_ENGINE_PEAKS_H
#define QUIRE_ENGINE_PEAKS_H

#include "quire/peaks.h"

/* CANCELLED where the caller's function says so. */
quire_status peaks_check_stop(const quire_peaks *peaks, quire_error *err);

#endif
