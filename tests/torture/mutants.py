"""Deliberately broken programs: one text of the source replaced, and the rows that must catch it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """``old`` stands exactly once in ``file`` (below src/llmtrain); with ``new`` instead, the program is broken.

    Attributes:
        about: What is broken, in a few words.
        caught_by: Rows that must fail on it, the quickest first.
        in_ci: Whether CI has the time for the first of them; ``scripts/torture ROW --mutants`` has for all.
        trials: How many the row needs to come to it; 0: as many as for its other mutants.
    """

    about: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    in_ci: bool = True
    trials: int = 0


MUTANTS: dict[str, Mutant] = {
    "random-state-forgotten": Mutant("a resume leaves out the random state", "training/setup.py",
                                     "    parts.append(RandomPart(accelerator))\n", "", ("R5", "R1")),
    "progress-forgotten": Mutant("a resume forgets where it was", "training/setup.py", "[progress, SchedulePart",
                                 "[SchedulePart", ("R5",), False),
    "optimizer-forgotten": Mutant("a resume leaves out the optimizer's state", "training/setup.py",
                                  "OptimizerPart(optimizer), PrecisionPart(precision),",
                                  "PrecisionPart(precision),", ("R5",), False),
    "objectives-forgotten": Mutant("a resume leaves out the base term's own layers", "training/setup.py",
                                   "PrecisionPart(precision),\n                         ModulePart(\"objectives\", "
                                   "dict(module.objectives.named_parameters()))]", "PrecisionPart(precision)]",
                                   ("R5",), False),
    "adapters-forgotten": Mutant("a resume goes on from merged weights", "training/setup.py",
                                 "        parts.append(ModulePart(\"adapters\", adapters.own_parameters(model)))\n",
                                 "        pass\n", ("R5",), False, trials=6),
    "schedule-forgotten": Mutant("a run limited by minutes forgets that it cools down", "training/setup.py",
                                 "SchedulePart(schedule), OptimizerPart", "OptimizerPart", ("R5",), False, trials=19),
    "precision-forgotten": Mutant("a resume leaves out the format and the loss scaler", "training/setup.py",
                                  "OptimizerPart(optimizer), PrecisionPart(precision),",
                                  "OptimizerPart(optimizer),", ("R8",), False),
    "scaler-not-restored": Mutant("a resume begins with a new loss scale", "training/state.py",
                                  "            self._precision.scaler.load_state_dict(data[\"scaler\"])",
                                  "            pass", ("R8",), False),
    "weighting-forgotten": Mutant("a resume leaves out what the weighting has learned", "training/setup.py",
                                  "        parts.append(WeightingPart(module.weighting))\n", "        pass\n",
                                  ("R8",), False),
    "weights-forgotten": Mutant("a resume goes on from averaged weights", "training/setup.py",
                                "[ModulePart(\"weights\", trained), AveragePart(average)]", "[AveragePart(average)]",
                                ("R5",), False, trials=7),
    "average-forgotten": Mutant("a resume begins the average anew", "training/setup.py",
                                "[ModulePart(\"weights\", trained), AveragePart(average)]",
                                "[ModulePart(\"weights\", trained)]", ("R5",), False, trials=7),
    "counted-by-micro-batch": Mutant("a step's loss is divided by its last micro-batch's items", "training/step.py",
                                     "counts[name] += int(count)", "counts[name] = int(count)", ("R7",), False),
    "schedule-steps-on-a-skip": Mutant("a skipped step moves the rates", "training/loop.py",
                                       "result = run.step(micro, agreed, progress.step, progress.updates)",
                                       "result = run.step(micro, agreed, progress.step, progress.step)", ("R8",)),
    "average-moves-on-a-skip": Mutant("a skipped step moves the average", "training/step.py",
                                      "        if not skipped:\n", "        if True:\n", ("R8",)),
    "spoilt-base-read": Mutant("a base that holds NaN is trained", "model/base.py",
                               "if not bool(value.isfinite().all())", "if False", ("R7",)),
    "save-request-kills": Mutant("SIGUSR1 ends a run that starts or scores", "cli.py",
                                 "    await_save_requests()  # before anything that takes time\n", "", ("R4",), False),
    "second-signals-ignored": Mutant("a second signal changes nothing", "training/signals.py",
                                     "            os._exit(128 + number)\n", "            pass\n", ("R4",), False),
    "stops-unsaved": Mutant("a stop saves nothing", "training/loop.py", "signal_number)\n    save(run)\n",
                            "signal_number)\n", ("R4",), False),
    "stops-end-with-0": Mutant("a stopped run ends as a finished one", "errors.py",
                               "self.exit_code = 128 + signal_number", "self.exit_code = 0", ("R4",)),
    "workers-hear-signals": Mutant("a signal to the group is the data workers' too", "training/signals.py",
                                   "        signal.signal(number, signal.SIG_IGN)", "        pass", ("R4",), False),
    "spoilt-updates-saved": Mutant("what an update has spoilt is saved", "training/saving.py",
                                   "    check_finite(run, parts)\n", "", ("R7",), False),
    "losses-unchecked": Mutant("a loss that is not finite is stepped on", "training/step.py",
                               "if not all(math.isfinite(value) for value in means.values()):", "if False:", ("R7",),
                               False),
    "skips-stop": Mutant("a loss that is not finite stops the run whatever was asked for", "training/step.py",
                         "            if self.on_nonfinite is OnNonFinite.stop:\n                raise NumericsError("
                         "f\"step {step + 1} stopped: {reason}; look", "            if True:\n                "
                         "raise NumericsError(f\"step {step + 1} stopped: {reason}; look", ("R7",), False),
    "rows-misnamed": Mutant("every row of a batch is blamed", "training/blame.py",
                            "for name in bad & self._not_finite(self.module(self.alone(step, row), step)):",
                            "for name in bad:", ("R7",), False),
    "best-pruned": Mutant("pruning forgets the best checkpoint", "checkpoint/save.py",
                          "kept = best | {last}", "kept = {last}", ("R16",)),
    "stale-taken": Mutant("a later step from elsewhere is gone on from", "checkpoint/locate.py",
                          'manifest.meta.get("after") != last', "False", ("R16",), False, trials=12),
    "foreign-taken": Mutant("a later step of another configuration is gone on from where last is missing",
                            "training/resuming.py", "may_be_by(meta, config)", "True", ("R16",), False,
                            trials=12),
    "damaged-best-kept": Mutant("a damaged best checkpoint stays the best", "training/resuming.py",
                                "            checkpoint.verify(best)\n", "            pass\n", ("R6",), False),
    "hashes-unread": Mutant("a file's size is all that is verified", "checkpoint/verify.py",
                            "record_of(path) != record", "False", ("R6",)),
    "saved-without-fsync": Mutant("a checkpoint's files are not forced to disk", "atomic.py",
                                  "os.fchmod(handle, mode)\n                os.fsync(handle)",
                                  "os.fchmod(handle, mode)", ("R2",)),
    "renamed-before-synced": Mutant("a checkpoint is committed and only then forced to disk", "atomic.py",
                                    "        _settle(staged)\n        if final.exists():\n"
                                    "            final.rename(replaced)\n        staged.rename(final)",
                                    "        if final.exists():\n            final.rename(replaced)\n"
                                    "        staged.rename(final)\n        _settle(final)", ("R2",), False),
    "log-failures-untold": Mutant("a log that cannot be written is a bug of ours", "log.py",
                                  "with writing(self._path, len(line)), self", "with self", ("R3",)),
    "closed-folders-misjudged": Mutant("a folder that may not be written is a wrong key", "atomic.py",
                                       "if number in DISK | NOT_ALLOWED:", "if number in DISK:", ("R3",), False,
                                       trials=5),
    "cache-failures-untold": Mutant("a cache that cannot be written is a bug of ours", "data/features.py",
                                    "nullcontext() if folder is None else writing(folder / f\"{key}.arrow\", needed)",
                                    "nullcontext()", ("R3",), False),
    "errors-end-with-1": Mutant("an expected failure ends with the code of a bug", "errors.py", "    exit_code = 2\n",
                                "    exit_code = 1\n", ("R9",)),
    "refusals-leave-traces": Mutant("a run that failed before its first checkpoint stays", "training/runfolder.py",
                                    "            if (self.path / RESULTS)",
                                    "            if True or (self.path / RESULTS)", ("R9",)),
    "manifests-take-pickles": Mutant("a checkpoint may hold any kind of file", "checkpoint/manifest.py",
                                     "name.lower().endswith(FORBIDDEN_SUFFIXES)", "False", ("R12",)),
    "links-followed": Mutant("a base's files may be links to anything", "model/trust.py", "*_links(folder), ", "",
                             ("R12",), False),
    "resolvers-resolved": Mutant("an override may ask for the environment", "config/load.py",
                                 "(resolver := next(filter(None, asked), None)) is not None",
                                 "(resolver := next(filter(None, asked), None)) is ...", ("R12",), False, trials=13),
    "entries-unforced": Mutant("a checkpoint's folders are renamed before their entries are on disk", "atomic.py",
                               "        sync_folder(Path(root))\n", "        pass\n", ("R2",), False),
    "pointers-unforced": Mutant("a pointer is renamed before its content is on disk", "atomic.py",
                                "                os.fsync(file.fileno())\n            staged.replace",
                                "            staged.replace", ("R2",), False),
    "moves-unforced": Mutant("a pointer's rename is not forced to disk", "atomic.py",
                             "        sync_folder(path.parent)\n", "        pass\n", ("R2",), False),
    "indexes-followed": Mutant("an index may name any file", "model/trust.py",
                               "if Path(name).name != name or not name.endswith(\".safetensors\"):", "if False:",
                               ("R12",), False),
    "large-indexes-unseen": Mutant("an index too large to look into is followed", "model/trust.py",
                                   "return None, f\"{path} is larger than {INDEX_LIMIT:,} bytes; restore the model's "
                                   "own file\"", "return None, None", ("R12",), False, trials=12),
    "published-unseen": Mutant("a checkpoint's model may name weights elsewhere", "hf.py",
                               "    check_published(folder)\n", "", ("R12",), False, trials=12),
    "tokenizers-run-code": Mutant("a base's tokenizer may bring code", "model/base.py",
                                  "found, revision=revision, trust_remote_code=False)",
                                  "found, revision=revision, trust_remote_code=True)", ("R12",), False, trials=12),
    "lines-uncounted": Mutant("an archive may hold a hundred million lines", "data/packing.py",
                              "        made += ROW * sum(map(piece.count, OPENING)) + ITEM * piece.count(b\",\")\n", "",
                              ("R12",), False, trials=13),
    "parquet-unbounded": Mutant("a Parquet file may unpack to anything", "data/readers.py",
                                "            check_bound(path, total)\n", "", ("R12",), False, trials=12),
    "lost-ranks-unnamed": Mutant("a lost rank is told as the address of a socket", "training/lost.py",
                                 "if accelerator.num_processes > 1 and any(", "if False and any(", ("R10",)),
    "survivors-wait": Mutant("a rank that stands still is waited for", "training/setup.py",
                             "timedelta(seconds=config.trainer.timeout_seconds)", "timedelta(hours=1)", ("R10",), False,
                             trials=6),
    "one-goes-on-for-two": Mutant("one process goes on with the run of two", "training/resuming.py",
                                  'if meta["world_size"] != processes and not', "if False and not", ("R10",), False),
    "workers-unended": Mutant("a stopped data worker stays", "data/loader.py", "            end(workers)\n", "",
                              ("R11",), False, trials=6),
    "lost-workers-a-bug": Mutant("a lost data worker is a bug of ours", "data/workers.py",
                                 "        raise _told(error, step()) from error", "        raise", ("R11",)),
    "secrets-told": Mutant("nothing is struck out of what is told, and nothing refused", "errors.py",
                           "    return LOGIN.sub(", "    return text\n    return LOGIN.sub(", ("R13",)),
    "logins-told": Mutant("a login in a URL is told, and taken", "errors.py",
                          "LOGIN.sub(\"***\", TOKEN.sub(\"***\", text))", "TOKEN.sub(\"***\", text)", ("R13",), False),
    "order-lost": Mutant("a document without text shifts the summaries behind it", "summarizer.py",
                         "summaries[i] = one", "summaries[row] = one", ("R18",)),
    "all-tokenised": Mutant("a long document is tokenised whole", "data/long.py",
                            "LONGEST_WHOLE = 1 << 16", "LONGEST_WHOLE = 1 << 40", ("R18",), False),
    "locals-ask-the-hub": Mutant("a local folder too asks whether the hub is there", "model/base.py",
                                 "    if Path(path).is_dir():\n        check_folder",
                                 "    if unreachable('/') is not None and Path(path).is_dir():\n        check_folder",
                                 ("R14",)),
    "no-lock": Mutant("the run folder's lock is shared", "lock.py",
                      "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", ("R15",)),
}
