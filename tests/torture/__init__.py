"""The torture table: what llmtrain must withstand, each row a short test for CI and a long form behind a flag."""
