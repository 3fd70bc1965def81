-- Which number the next gateway takes: each takes the one after the last, so that a number comes round only after all
-- others, and one that has lost its connection finds its own again.
CREATE SEQUENCE gateway_node MINVALUE 0 START 0;
