insert or replace into request (queue, id, digest, job, until, made)
values (?1, ?2, ?3, ?4, ?5, ?6)
